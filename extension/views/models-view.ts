// The tree of models. A model's headers are read when it is opened up, not before.
import * as vscode from "vscode";
import { describeCheckpoint } from "../../merge-core/checkpoints/describe.ts";
import { formatBytes, formatCount } from "../../merge-core/units.ts";
import type { FoundModel } from "../models/find-models.ts";
import type { ModelGroups, ModelLibrary } from "../models/library.ts";
import { diagnosticsOf } from "../panels/page-channel.ts";

export type ModelNode =
  | { readonly kind: "group"; readonly key: keyof ModelGroups; readonly models: readonly FoundModel[] }
  | { readonly kind: "model"; readonly group: keyof ModelGroups; readonly model: FoundModel }
  | { readonly kind: "fact"; readonly name: string; readonly value: string };

const TITLES: Readonly<Record<keyof ModelGroups, string>> = {
  pinned: vscode.l10n.t("Pinned"),
  workspace: vscode.l10n.t("Workspace"),
  folders: vscode.l10n.t("Model folders"),
  cache: vscode.l10n.t("Hugging Face cache"),
};

export class ModelsView implements vscode.TreeDataProvider<ModelNode> {
  readonly #library: ModelLibrary;
  readonly onDidChangeTreeData: vscode.Event<void>;

  constructor(library: ModelLibrary) {
    this.#library = library;
    this.onDidChangeTreeData = library.onDidChange;
  }

  async getChildren(node?: ModelNode): Promise<ModelNode[]> {
    if (node === undefined) {
      const groups = await this.#library.groups();
      const keys = (Object.keys(TITLES) as (keyof ModelGroups)[]).filter((key) => groups[key].length > 0);
      return keys.map((key) => ({ kind: "group", key, models: groups[key] }));
    }
    if (node.kind === "group") return node.models.map((model) => ({ kind: "model", group: node.key, model }));
    return node.kind === "model" ? this.#facts(node.model) : [];
  }

  getTreeItem(node: ModelNode): vscode.TreeItem {
    if (node.kind === "group") return groupItem(node.key, node.models.length);
    if (node.kind === "fact") return Object.assign(new vscode.TreeItem(node.name), { description: node.value });
    return modelItem(node.group, node.model);
  }

  async #facts(model: FoundModel): Promise<ModelNode[]> {
    const fact = (name: string, value: string): ModelNode => ({ kind: "fact", name, value });
    try {
      const summary = describeCheckpoint(await this.#library.headers(model.path));
      return [
        fact(vscode.l10n.t("Parameters"), formatCount(summary.parameters)),
        fact(vscode.l10n.t("Size"), formatBytes(summary.bytes)),
        fact(vscode.l10n.t("Types"), Object.keys(summary.byDtype).join(", ")),
        fact(vscode.l10n.t("Layers"), String(summary.layers)),
        fact(vscode.l10n.t("Tensors"), String(summary.tensors.length)),
      ];
    } catch (error) {
      return diagnosticsOf(error).map((diagnostic) => fact(diagnostic.code, diagnostic.message));
    }
  }
}

function groupItem(key: keyof ModelGroups, count: number): vscode.TreeItem {
  const item = new vscode.TreeItem(TITLES[key], key === "cache" ? vscode.TreeItemCollapsibleState.Collapsed : vscode.TreeItemCollapsibleState.Expanded);
  item.description = String(count);
  item.contextValue = "group";
  return item;
}

function modelItem(group: keyof ModelGroups, model: FoundModel): vscode.TreeItem {
  const item = new vscode.TreeItem(model.name, vscode.TreeItemCollapsibleState.Collapsed);
  item.iconPath = new vscode.ThemeIcon("package");
  item.description = group === "workspace" ? vscode.workspace.asRelativePath(model.path) : "";
  item.tooltip = model.path;
  item.contextValue = group === "pinned" ? "model-pinned" : "model";
  item.command = { command: "weightsmith.inspectCheckpoint", title: vscode.l10n.t("Inspect"), arguments: [vscode.Uri.file(model.file)] };
  return item;
}
