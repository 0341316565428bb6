/** The shortest endings of the paths that tell the models apart. */
export function modelNames(paths: readonly string[]): string[] {
  const parts = paths.map((path) => path.split("/").filter(Boolean));
  const ending = (depth: number) => parts.map((part) => part.slice(-depth).join("/"));
  const depth = [1, 2, 3, 4].find((d) => new Set(ending(d)).size === paths.length);
  return depth === undefined ? [...paths] : ending(depth);
}
