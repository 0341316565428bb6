import manifest from "../package.json" with { type: "json" };

/** This package's version, written to every manifest. */
export const VERSION: string = manifest.version;
