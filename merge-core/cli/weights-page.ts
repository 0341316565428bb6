// What the pages of align and share show.
import type { Alignment } from "../align/align.ts";
import type { LossLine } from "../align/barrier.ts";
import type { HeadSimilarity, SharedUnit } from "../share/directshare.ts";
import { VERSION } from "../version.ts";
import type { HtmlPage } from "./html-page.ts";

export interface AlignPage extends Omit<Alignment, "warnings"> {
  readonly kind: "align";
  readonly weightsmith: string;
  readonly a: string;
  readonly b: string;
  /** The loss on the way from A to B, as B was and aligned. */
  readonly line?: { readonly before: LossLine; readonly after: LossLine };
}

export interface HeadsPage {
  readonly kind: "heads";
  readonly weightsmith: string;
  readonly model: string;
  readonly parameters: { readonly before: number; readonly after: number };
  readonly pairs: readonly SharedUnit[];
  readonly similarity: HeadSimilarity;
}

export const alignPage = (data: Omit<AlignPage, "kind" | "weightsmith">): HtmlPage => ({
  ...{ title: "Aligning two models", script: "weights", command: "align" },
  data: { kind: "align", weightsmith: VERSION, ...data } satisfies AlignPage,
});

export const headsPage = (data: Omit<HeadsPage, "kind" | "weightsmith">): HtmlPage => ({
  ...{ title: "Heads that are alike", script: "weights", command: "share" },
  data: { kind: "heads", weightsmith: VERSION, ...data } satisfies HeadsPage,
});
