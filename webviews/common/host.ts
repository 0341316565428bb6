// A page's seam to the extension host: handshake, requests with cancellation, and state kept over a reload of the page.
import { type Diagnostic, WeightsmithError } from "../../merge-core/diagnostics.ts";
import { type Methods, PROTOCOL_VERSION, type ToHost, type ToPage } from "../protocol.ts";

/** What VS Code gives a page, once. */
export interface HostApi {
  postMessage(message: ToHost): void;
  getState(): unknown;
  setState(state: unknown): void;
}

declare function acquireVsCodeApi(): HostApi;

export interface Host<M extends Methods> {
  request<K extends keyof M & string>(method: K, params: M[K]["params"], options?: { readonly signal?: AbortSignal }): Promise<M[K]["result"]>;
  /** Layout and navigation only: sort, filter, scroll place. Survives hiding the page. */
  readonly saved: { get(): unknown; set(state: unknown): void };
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Connects to the host: `onState` gets the first state and every later one. */
export function connect<State, M extends Methods>(onState: (state: State) => void, api: HostApi = acquireVsCodeApi(), target: EventTarget = window): Host<M> {
  const pending = new Map<number, Pending>();
  let nextId = 1;
  target.addEventListener("message", (event) => {
    const message = (event as MessageEvent<ToPage<State>>).data;
    if (message.kind === "state") onState(message.state);
    else if (message.kind === "packed-state") onState(JSON.parse(new TextDecoder().decode(message.json)) as State);
    else settle(pending, message);
  });
  api.postMessage({ kind: "ready", version: PROTOCOL_VERSION });
  return {
    request(method, params, options) {
      const id = nextId++;
      options?.signal?.addEventListener("abort", () => api.postMessage({ kind: "cancel", id }), { once: true });
      return new Promise((resolve, reject) => {
        pending.set(id, { resolve: resolve as Pending["resolve"], reject });
        api.postMessage({ kind: "request", id, method, params });
      });
    },
    saved: { get: () => api.getState(), set: (state) => api.setState(state) },
  };
}

function settle(pending: Map<number, Pending>, message: Exclude<ToPage<unknown>, { kind: "state" | "packed-state" }>): void {
  const request = pending.get(message.id);
  pending.delete(message.id);
  if (message.kind === "result") request?.resolve(message.value);
  else request?.reject(new WeightsmithError(message.kind === "error" ? message.diagnostics : CANCELLED));
}

const CANCELLED: Diagnostic = { code: "cancelled", severity: "error", message: "cancelled" };
