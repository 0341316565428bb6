// A Hugging Face hub of one model on 127.0.0.1: the API's file list, resolve URLs with checksums, large files behind a
// redirect, byte ranges; and faults on demand.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

export interface FakeHub {
  readonly endpoint: string;
  /** `METHOD path`, with the range if one was asked for. */
  readonly requests: string[];
  /** Breaks the connection of the next downloads of large files after so many bytes. */
  breakAfter: number[];
  /** Sends these bytes instead of a file's. */
  readonly instead: Map<string, Uint8Array>;
  close(): Promise<void>;
}

export const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
const gitSha1 = (bytes: Uint8Array): string => createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** @param files by name; tensor files are kept like LFS files. */
export async function startHub(model: string, files: Readonly<Record<string, Uint8Array>>, token?: string): Promise<FakeHub> {
  const server = createServer((request, response) => answer(hub, { model, files, token }, request, response));
  const hub: { -readonly [K in keyof FakeHub]: FakeHub[K] } = { endpoint: "", requests: [], breakAfter: [], instead: new Map(), close: async () => {} };
  await new Promise<void>((resume) => server.listen(0, "127.0.0.1", resume));
  hub.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  hub.close = () => {
    server.closeAllConnections();
    return new Promise((resume) => server.close(() => resume()));
  };
  return hub;
}

interface Repository {
  readonly model: string;
  readonly files: Readonly<Record<string, Uint8Array>>;
  readonly token: string | undefined;
}

function answer(hub: FakeHub, { model, files, token }: Repository, request: IncomingMessage, response: ServerResponse): void {
  const { url = "", method = "", headers } = request;
  hub.requests.push(`${method} ${url}${headers.range === undefined ? "" : ` ${headers.range}`}`);
  const [, part, file = ""] = new RegExp(`^/(api/models/${model}/revision/main$|${model}/resolve/${COMMIT}/|cdn/)(.*)$`).exec(url) ?? [];
  const bytes = files[file];
  if (token !== undefined && part !== "cdn/" && headers.authorization !== `Bearer ${token}`) response.writeHead(401).end();
  else if (part?.startsWith("api")) response.end(JSON.stringify({ sha: COMMIT, siblings: Object.keys(files).map((rfilename) => ({ rfilename })) }));
  else if (part === undefined || bytes === undefined) response.writeHead(404).end();
  else if (part !== "cdn/" && file.endsWith(".safetensors"))
    response.writeHead(302, { location: `/cdn/${file}`, "x-linked-size": bytes.length, "x-linked-etag": `"${sha256(bytes)}"` }).end();
  else sendBytes(hub, file, bytes, request, response, part === "cdn/");
}

function sendBytes(hub: FakeHub, file: string, bytes: Uint8Array, { method, headers }: IncomingMessage, response: ServerResponse, large: boolean): void {
  const content = hub.instead.get(file) ?? bytes;
  const from = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
  const range = from > 0 ? { "content-range": `bytes ${from}-${content.length - 1}/${content.length}` } : {};
  response.writeHead(from > 0 ? 206 : 200, { "content-length": content.length - from, etag: `W/"${gitSha1(bytes)}"`, ...range });
  const stop = large && method === "GET" ? hub.breakAfter.shift() : undefined;
  if (method === "HEAD") response.end();
  else if (stop === undefined) response.end(content.subarray(from));
  else response.write(content.subarray(from, from + stop), () => setTimeout(() => response.destroy(), 20));
}
