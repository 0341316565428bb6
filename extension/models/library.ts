// The models in reach: of the workspace, of folders named in the settings, of the Hugging Face cache, and pinned ones.
import * as vscode from "vscode";
import type { Checkpoint } from "../../merge-core/checkpoints/checkpoint.ts";
import { openCheckpoint } from "../../merge-core/checkpoints/open-checkpoint.ts";
import { cacheFolder, modelFolders } from "../settings.ts";
import { defaultCacheFolder, type FoundModel, findCachedModels, findInFolder, groupModels } from "./find-models.ts";

/** Enough for any workspace of models; a folder of more is data. */
const MAX_FILES = 2000;
const PINNED_KEY = "pinnedModels";

export interface ModelGroups {
  readonly workspace: readonly FoundModel[];
  readonly folders: readonly FoundModel[];
  readonly cache: readonly FoundModel[];
  readonly pinned: readonly FoundModel[];
}

/** Models in reach, and their headers, which are read once. */
export class ModelLibrary implements vscode.Disposable {
  readonly #memento: vscode.Memento;
  readonly #changed = new vscode.EventEmitter<void>();
  readonly #watcher = vscode.workspace.createFileSystemWatcher("**/*.safetensors");
  readonly #headers = new Map<string, Promise<Checkpoint>>();
  #groups: Promise<ModelGroups> | undefined;

  readonly onDidChange = this.#changed.event;

  constructor(memento: vscode.Memento) {
    this.#memento = memento;
    this.#watcher.onDidCreate(() => this.refresh());
    this.#watcher.onDidDelete(() => this.refresh());
    this.#watcher.onDidChange(() => this.refresh());
  }

  groups(): Promise<ModelGroups> {
    this.#groups ??= this.#search();
    return this.#groups;
  }

  /** All models, each path once. */
  async all(): Promise<readonly FoundModel[]> {
    const { workspace, folders, cache, pinned } = await this.groups();
    return [...new Map([...pinned, ...workspace, ...folders, ...cache].map((model) => [model.path, model])).values()];
  }

  /** The headers of a model; read once until something changes. */
  headers(path: string): Promise<Checkpoint> {
    return this.remember(path, () => openCheckpoint(path));
  }

  /** What `open` gives, once for each key until something changes. A failure is not remembered: the file may be on its way. */
  remember(key: string, open: () => Promise<Checkpoint>): Promise<Checkpoint> {
    const known = this.#headers.get(key);
    if (known !== undefined) return known;
    const opening = open();
    this.#headers.set(key, opening);
    opening.catch(() => this.#headers.delete(key));
    return opening;
  }

  refresh(): void {
    this.#groups = undefined;
    this.#headers.clear();
    this.#changed.fire();
  }

  isPinned(path: string): boolean {
    return this.#pinned().some((model) => model.path === path);
  }

  async togglePin(model: FoundModel): Promise<void> {
    const pinned = this.#pinned();
    await this.#memento.update(PINNED_KEY, this.isPinned(model.path) ? pinned.filter(({ path }) => path !== model.path) : [...pinned, model]);
    this.refresh();
  }

  #pinned(): readonly FoundModel[] {
    return this.#memento.get<FoundModel[]>(PINNED_KEY, []);
  }

  async #search(): Promise<ModelGroups> {
    const files = await vscode.workspace.findFiles("**/*.{safetensors,safetensors.index.json}", "**/{node_modules,.git,*.partial}/**", MAX_FILES);
    const local = files.filter(({ scheme }) => scheme === "file").map(({ fsPath }) => fsPath);
    const folders = (await Promise.all(modelFolders().map(findInFolder))).flat();
    return { workspace: groupModels(local), folders, cache: await findCachedModels(cacheFolder() || defaultCacheFolder()), pinned: this.#pinned() };
  }

  dispose(): void {
    this.#watcher.dispose();
    this.#changed.dispose();
  }
}
