import assert from "node:assert/strict";
import { type MessagePort, servePage } from "../../../extension/panels/page-channel.ts";
import { inputError, WeightsmithError } from "../../../merge-core/diagnostics.ts";
import { connect, type HostApi } from "../../../webviews/common/host.ts";
import type { ToHost } from "../../../webviews/protocol.ts";

type Methods = { double: { params: number; result: number }; fail: { params: undefined; result: undefined }; wait: { params: undefined; result: undefined } };

/** Page and host joined by copies of their messages, as between processes. */
function join(state: () => string | undefined) {
  const page = new EventTarget();
  let toHost: (message: ToHost) => void = () => assert.fail("nobody listens");
  const early: ToHost[] = [];
  const api: HostApi = { postMessage: (message) => void early.push(message), getState: () => undefined, setState: () => undefined };
  const states: string[] = [];
  const port: MessagePort = {
    postMessage: (message) => page.dispatchEvent(new MessageEvent("message", { data: structuredClone(message) })),
    onDidReceiveMessage: (listener) => {
      toHost = listener;
      return { dispose: () => undefined };
    },
  };
  const channel = servePage<string, Methods>(port, state, {
    double: (n) => 2 * n,
    fail: () => {
      throw inputError("file-missing", "no such file");
    },
    wait: (_, signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("stopped")))),
  });
  const host = connect<string, Methods>((s) => states.push(s), api, page);
  api.postMessage = (message) => toHost(structuredClone(message));
  for (const message of early) toHost(message);
  return { channel, host, states };
}

describe("page protocol", () => {
  it("sends the whole state when the page is ready and after each push", () => {
    let state: string | undefined = "one";
    const { channel, states } = join(() => state);
    state = "two";
    channel.push();
    assert.deepEqual(states, ["one", "two"]);
  });

  it("sends a large state as bytes, which come out as the same state", () => {
    const large = "\u00e9\ud83d\ude00".repeat(200_000);
    assert.deepEqual(join(() => large).states, [large]);
  });

  it("sends nothing while there is no state", () => {
    assert.deepEqual(join(() => undefined).states, []);
  });

  it("ends each request in its result or its diagnostics", async () => {
    const { host } = join(() => "");
    assert.deepEqual(await Promise.all([host.request("double", 2), host.request("double", 3)]), [4, 6]);
    await assert.rejects(host.request("fail", undefined), (error) => error instanceof WeightsmithError && error.code === "file-missing");
  });

  it("ends a cancelled request, and all of them with the page", async () => {
    const { channel, host } = join(() => "");
    const controller = new AbortController();
    const request = host.request("wait", undefined, { signal: controller.signal });
    controller.abort();
    await assert.rejects(request, (error) => error instanceof WeightsmithError && error.code === "cancelled");
    const other = host.request("wait", undefined);
    channel.dispose();
    await assert.rejects(other, (error) => error instanceof WeightsmithError && error.code === "cancelled");
  });

  it("refuses what it does not know, also names of object methods", async () => {
    const { host } = join(() => "");
    for (const name of ["nothing", "constructor"])
      await assert.rejects(host.request(name as "double", 1), (error) => error instanceof WeightsmithError && /no such request/.test(error.message));
  });
});
