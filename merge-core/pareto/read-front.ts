// Reading pareto.json back. Node only.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { openError } from "../bytes/file-source.ts";
import { inputError } from "../diagnostics.ts";
import { FRONT_FILE, type FrontFile } from "./front-file.ts";

/** @throws WeightsmithError `file-missing`, `front-invalid` */
export async function readFront(folder: string): Promise<FrontFile> {
  const file = join(folder, FRONT_FILE);
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    throw openError(file, error);
  });
  return parseFront(text, file);
}

/** @throws WeightsmithError `front-invalid` */
export function parseFront(text: string, file: string): FrontFile {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  if (isFront(value)) return value;
  throw inputError("front-invalid", "not the result of a search for trade-offs", { file, expected: "what weightsmith pareto writes" });
}

const LISTS = ["points", "objectives", "coefficients", "surrogates", "reference"];

function isFront(value: unknown): value is FrontFile {
  if (typeof value !== "object" || value === null) return false;
  const fields = value as Readonly<Record<string, unknown>>;
  return fields.format === "weightsmith-pareto" && fields.version === 1 && LISTS.every((name) => Array.isArray(fields[name])) && isListOfPoints(fields.points);
}

const isListOfPoints = (points: unknown): boolean =>
  Array.isArray(points) &&
  points.every((point: unknown) => typeof point === "object" && point !== null && "id" in point && "values" in point && Array.isArray(point.values));

/** A setting of the coefficients as numbers with commas. @throws WeightsmithError `setting-invalid` */
export function parseSetting({ coefficients }: FrontFile, at: string): number[] {
  const setting = at.split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  if (setting.length === coefficients.length && setting.every(Number.isFinite)) return setting;
  throw inputError("setting-invalid", "the setting does not fit the coefficients", {
    found: at,
    expected: `${coefficients.length} numbers with commas: ${coefficients.map(({ name }) => name).join(", ")}`,
  });
}
