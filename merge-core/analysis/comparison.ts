// What a comparison says, as data: printed, written as JSON, drawn by the report. Pure; pages import it too.

/** Values that a zero vector leaves without meaning are null, never 0. */
export type Measure = number | null;

export interface ChangeMeasures {
  /** L2 norm of the change from the base, alone and as a share of the base's norm. */
  readonly norm: number;
  readonly relativeNorm: Measure;
  /** Share of elements that changed. */
  readonly density: Measure;
  /** Magnitudes that half, nine tenths and 99 % of the elements do not exceed, within 0.4 %; and the largest, exact. */
  readonly quantiles: { readonly p50: number; readonly p90: number; readonly p99: number; readonly max: number };
  /** Share of the norm that the trim keeps (norm@k). */
  readonly keptNorm: Measure;
  /** Share of the trimmed elements, and of their energy, that the sign election drops. */
  readonly droppedBySign: Measure;
  readonly droppedEnergy: Measure;
  /** Means over the matrices that have a value. */
  readonly effectiveRank?: Measure;
  readonly stableRank?: Measure;
}

export interface ModelMeasures {
  readonly norm: number;
  /** Cosine of the weights with the base's. */
  readonly cosineToBase: Measure;
  readonly changes?: ChangeMeasures;
  /** Of the weights: means over the matrices that have a value. */
  readonly effectiveRank?: Measure;
  readonly stableRank?: Measure;
}

export interface PairMeasures {
  readonly a: number;
  readonly b: number;
  /** Of the weights. The L2 distance is that of the changes too. */
  readonly cosine: Measure;
  readonly l2: number;
  readonly normRatio: Measure;
  readonly changes?: {
    readonly cosine: Measure;
    /** Norm of a's change divided by that of b's. */
    readonly normRatio: Measure;
    /** Opposite signs among the elements that both changed. */
    readonly conflict: Measure;
    /** Elements that both changed among those that either changed. */
    readonly support: Measure;
    /** The same two after the trim. */
    readonly topOverlap: Measure;
    readonly topConflict: Measure;
    /** Share of a's change that lies in the span of b's leading directions, and of b's in a's: means over the matrices that have a value. */
    readonly subspace?: Measure;
    readonly subspaceReverse?: Measure;
    /** Mean principal angle in degrees, and mean squared cosine, of the first leading directions. */
    readonly angle?: Measure;
    readonly directionOverlap?: Measure;
  };
}

export interface Measures {
  readonly elements: number;
  readonly models: readonly ModelMeasures[];
  readonly pairs: readonly PairMeasures[];
  /** Over all models: mean of |positive - negative| / (positive + negative) per element. */
  readonly signAgreement?: Measure;
  /** Elements by positive minus negative changes, from minus the number of models to plus it. */
  readonly signCounts?: readonly number[];
  /** Conflict of all pairs pooled: opposite signs among the elements that two models changed. */
  readonly conflict?: Measure;
}

export interface Group extends Measures {
  readonly name: string;
}

export interface LayerGroup extends Group {
  readonly layer: number;
  /** 1 is the layer with the most conflict. */
  readonly conflictRank?: number;
  /** By role within the layer. */
  readonly roles: readonly Group[];
}

export interface TensorGroup extends Group {
  readonly role: string;
  readonly layer?: number;
  readonly shape: readonly number[];
}

export interface Spectrum {
  /** Falling; those below 1e-7 of the largest, which are rounding, are left out. */
  readonly singularValues: readonly number[];
  /** exp of the entropy of the values' shares; null of a part of the values and of zeros. */
  readonly effectiveRank: Measure;
  /** Squared Frobenius norm over squared largest value. */
  readonly stableRank: Measure;
  /** How many directions leave at most 5 % of the norm over; null where more would be needed than are known. */
  readonly spanningRank?: number | null;
  /** Only the leading values of a large matrix. */
  readonly partial?: true;
}

export interface SubspacePair {
  readonly a: number;
  readonly b: number;
  /** Share of a's change in the span of b's `spanningRank` leading left directions, and of b's in a's. */
  readonly subspace: Measure;
  readonly subspaceReverse: Measure;
  /** Principal angles in degrees, rising, between the spans of the first leading left directions; the mean of their squared cosines. */
  readonly angles: readonly number[];
  readonly overlap: Measure;
}

/** Singular values of the changes of one tensor, by model; and of the weights. */
export interface TensorSpectra {
  readonly tensor: string;
  readonly models: readonly Spectrum[];
  readonly base?: Spectrum;
  readonly weights?: readonly Spectrum[];
  readonly pairs?: readonly SubspacePair[];
}

/** How alike the layers' outputs are on the same tokens. */
export interface ActivationMeasures {
  readonly data: readonly string[];
  /** Token positions compared. */
  readonly positions: number;
  /** The residual stream after the embedding and after each layer. */
  readonly layers: readonly { readonly name: string; readonly pairs: readonly ActivationPair[] }[];
}

export interface ActivationPair {
  /** Indices of models; -1 is the base. */
  readonly a: number;
  readonly b: number;
  readonly cka: Measure;
  readonly ckaDebiased: Measure;
}

export interface Comparison {
  readonly format: "weightsmith-comparison";
  readonly weightsmith: string;
  readonly base?: string;
  readonly models: readonly string[];
  /** Share of elements per tensor that the previewed trim keeps. */
  readonly density: number;
  readonly total: Measures;
  readonly roles: readonly Group[];
  readonly layers: readonly LayerGroup[];
  readonly tensors: readonly TensorGroup[];
  /** Models that Weightsmith merged, by index. */
  readonly merges?: readonly number[];
  readonly spectra?: readonly TensorSpectra[];
  /** Tensors of the comparison that have no spectra, and why. */
  readonly spectraSkipped?: readonly { readonly name: string; readonly reason: string }[];
  readonly activations?: ActivationMeasures;
  /** Tensors left out, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
  readonly explanations: readonly Explanation[];
}

export interface Explanation {
  readonly measure: string;
  readonly meaning: string;
  readonly source?: { readonly title: string; readonly url: string };
}

const TASK_ARITHMETIC = { title: "Editing Models with Task Arithmetic", url: "https://arxiv.org/abs/2212.04089" };
const TIES = { title: "TIES-Merging: Resolving Interference When Merging Models", url: "https://arxiv.org/abs/2306.01708" };
const DARE = { title: "Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch", url: "https://arxiv.org/abs/2311.03099" };
const TRANSFER = { title: "What is being transferred in transfer learning?", url: "https://arxiv.org/abs/2008.11687" };
const WIDEN = {
  title: "Extend Model Merging from Fine-Tuned to Pre-Trained Large Language Models via Weight Disentanglement",
  url: "https://arxiv.org/abs/2408.03092",
};
const SMALL_SUBNETWORKS = { title: "Reinforcement Learning Finetunes Small Subnetworks in Large Language Models", url: "https://arxiv.org/abs/2505.11711" };
const CABS = { title: "CABS: Conflict-Aware and Balanced Sparsification for Enhancing Model Merging", url: "https://arxiv.org/abs/2503.01874" };

/** What each measure means. None of them predicts how well a merge will do: that takes an evaluation. */
export const EXPLANATIONS: readonly Explanation[] = [
  {
    measure: "cosine",
    meaning: "Angle between weights, or between changes from the base: 1 same direction, 0 unrelated, -1 opposed.",
    source: TASK_ARITHMETIC,
  },
  { measure: "L2", meaning: "Euclidean distance of the weights; the same for the changes.", source: TRANSFER },
  {
    measure: "norm ratio",
    meaning: "Length of the first model's change divided by the second's: the longer one dominates a plain sum.",
    source: WIDEN,
  },
  { measure: "density", meaning: "Share of elements that differ from the base at all.", source: SMALL_SUBNETWORKS },
  { measure: "quantiles", meaning: "Magnitudes that 50, 90 and 99 % of a change's elements do not exceed.", source: DARE },
  {
    measure: "conflict",
    meaning: "Among elements that both models changed, the share changed in opposite directions; unrelated changes have about 0.5.",
    source: TIES,
  },
  {
    measure: "sign agreement",
    meaning: "Mean over elements of |positive - negative| / (positive + negative) over all models; 1 where nobody changed anything.",
    source: TIES,
  },
  { measure: "support", meaning: "Elements that both models changed, among those that either changed (Jaccard index).", source: CABS },
  { measure: "top-k overlap", meaning: "The same for the elements that the trim keeps of each model.", source: CABS },
  { measure: "norm kept", meaning: "Norm of a change after the trim, divided by its norm before.", source: TIES },
  {
    measure: "dropped by sign",
    meaning: "Of the elements that the trim keeps, the share that the sign election would drop because most of the mass points the other way.",
    source: TIES,
  },
  {
    measure: "energy dropped by sign",
    meaning: "The same by energy: the sum of squares of what would be dropped, of that of what the trim keeps.",
    source: TIES,
  },
  {
    measure: "conflict rank",
    meaning: "Layers by falling conflict of all pairs pooled; 1 has the most. An order of where to look, not of how much harm is done.",
    source: TIES,
  },
];
