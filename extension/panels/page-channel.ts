// The host's side of the page protocol: state on request, each request to exactly one reply.
import { type Diagnostic, WeightsmithError } from "../../merge-core/diagnostics.ts";
import { type Methods, PROTOCOL_VERSION, type ToHost, type ToPage } from "../../webviews/protocol.ts";

/** The part of a webview that a channel needs. */
export interface MessagePort {
  postMessage(message: unknown): unknown;
  onDidReceiveMessage(listener: (message: ToHost) => void): { dispose(): void };
}

export type Handlers<M extends Methods> = {
  readonly [K in keyof M]: (params: M[K]["params"], signal: AbortSignal) => M[K]["result"] | Promise<M[K]["result"]>;
};

export interface PageChannel {
  /** Sends the state of now, if the page is there to take it. */
  push(): void;
  dispose(): void;
}

/** States beyond this go as bytes. */
const PACKED_CHARACTERS = 256 * 1024;

/** Serves one page. `state` is asked for at each `ready` and `push`; undefined means that there is none yet. */
export function servePage<State, M extends Methods>(port: MessagePort, state: () => State | undefined, handlers: Handlers<M>): PageChannel {
  const running = new Map<number, AbortController>();
  let ready = false;
  const send = (message: ToPage<State>) => void port.postMessage(message);
  const push = () => {
    const now = state();
    if (!ready || now === undefined) return;
    const json = JSON.stringify(now);
    send(json.length > PACKED_CHARACTERS ? { kind: "packed-state", json: new TextEncoder().encode(json) } : { kind: "state", state: now });
  };
  const answer = async (id: number, method: string, params: unknown) => {
    const controller = new AbortController();
    running.set(id, controller);
    send(await reply<M>(id, handlers, method, params, controller.signal));
    running.delete(id);
  };
  const subscription = port.onDidReceiveMessage((message) => {
    if (message.kind === "ready") {
      if (message.version !== PROTOCOL_VERSION) throw new Error(`page speaks protocol ${message.version}, not ${PROTOCOL_VERSION}`);
      ready = true;
      push();
    } else if (message.kind === "cancel") running.get(message.id)?.abort();
    else void answer(message.id, message.method, message.params);
  });
  return {
    push,
    dispose() {
      ready = false;
      subscription.dispose();
      for (const controller of running.values()) controller.abort();
    },
  };
}

/** The one answer that a request gets. */
export async function reply<M extends Methods>(
  id: number,
  handlers: Handlers<M>,
  method: string,
  params: unknown,
  signal: AbortSignal,
): Promise<ToPage<never>> {
  try {
    if (!Object.hasOwn(handlers, method)) throw new Error(`no such request: ${method}`);
    return { kind: "result", id, value: await handlers[method]?.(params, signal) };
  } catch (error) {
    return signal.aborted ? { kind: "cancelled", id } : { kind: "error", id, diagnostics: diagnosticsOf(error) };
  }
}

/** What to show of anything that was thrown. */
export function diagnosticsOf(error: unknown): readonly Diagnostic[] {
  if (error instanceof WeightsmithError) return error.diagnostics;
  return [
    {
      code: "internal",
      severity: "error",
      message: error instanceof Error ? error.message : String(error),
      remedy: "see the Weightsmith log, and report this",
    },
  ];
}
