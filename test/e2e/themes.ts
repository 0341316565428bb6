// Colours of the editor's own themes, as its pages see them: what pages are looked at and checked with outside the editor.

const LIGHT = {
  "editor-background": "#ffffff",
  "editor-foreground": "#3b3b3b",
  foreground: "#3b3b3b",
  descriptionForeground: "#3b3b3b",
  "panel-border": "#e5e5e5",
  "sideBar-background": "#f8f8f8",
  focusBorder: "#005fb8",
  errorForeground: "#f85149",
  "inputValidation-errorBorder": "#be1100",
  "button-background": "#005fb8",
  "button-foreground": "#ffffff",
  "button-hoverBackground": "#0258a8",
  "button-secondaryBackground": "#e5e5e5",
  "button-secondaryForeground": "#3b3b3b",
  "button-secondaryHoverBackground": "#cccccc",
  "input-background": "#ffffff",
  "input-foreground": "#3b3b3b",
  "input-border": "#cecece",
  "textLink-foreground": "#005fb8",
  "charts-foreground": "#3b3b3b",
  "charts-red": "#e51400",
  "charts-blue": "#0063d3",
  "charts-yellow": "#bf8803",
  "charts-orange": "#ea5c0055",
  "charts-green": "#388a34",
  "charts-purple": "#652d90",
};

const DARK = {
  ...LIGHT,
  "editor-background": "#1f1f1f",
  "editor-foreground": "#cccccc",
  foreground: "#cccccc",
  descriptionForeground: "#9d9d9d",
  "panel-border": "#2b2b2b",
  "sideBar-background": "#181818",
  focusBorder: "#0078d4",
  "button-background": "#0078d4",
  "button-secondaryBackground": "#313131",
  "button-secondaryForeground": "#cccccc",
  "button-secondaryHoverBackground": "#3c3c3c",
  "input-background": "#313131",
  "input-foreground": "#cccccc",
  "input-border": "#3c3c3c",
  "textLink-foreground": "#4daafc",
  "charts-foreground": "#cccccc",
  "charts-red": "#f14c4c",
  "charts-blue": "#59a4f9",
  "charts-yellow": "#cca700",
  "charts-orange": "#ea5c0055",
  "charts-green": "#89d185",
  "charts-purple": "#b180d7",
};

const { "panel-border": _border, "button-secondaryBackground": _second, "button-secondaryHoverBackground": _hover, "charts-orange": _orange, ...bare } = DARK;
const HIGH_CONTRAST = {
  ...bare,
  "editor-background": "#000000",
  "editor-foreground": "#ffffff",
  foreground: "#ffffff",
  descriptionForeground: "#d4d4d4",
  contrastBorder: "#6fc3df",
  "panel-border": "#6fc3df",
  "sideBar-background": "#000000",
  focusBorder: "#f38518",
  "button-background": "#000000",
  "button-secondaryForeground": "#ffffff",
  "input-background": "#000000",
  "input-foreground": "#ffffff",
  "textLink-foreground": "#21a6ff",
  "charts-red": "#f48771",
  "charts-blue": "#59a4f9",
  "charts-yellow": "#ffd370",
};

export const THEMES = { light: LIGHT, dark: DARK, "high-contrast": HIGH_CONTRAST } as const;
export type Theme = keyof typeof THEMES;

/** As the editor gives a page its theme: custom properties on the root. */
export const themeCss = (theme: Theme): string => {
  const colours = Object.entries(THEMES[theme]).map(([name, value]) => `--vscode-${name}: ${value};`);
  const fonts = ["--vscode-font-family: system-ui, sans-serif;", "--vscode-font-size: 13px;", "--vscode-font-weight: normal;"];
  return `:root { ${[...colours, ...fonts, "--vscode-editor-font-family: monospace;", "--vscode-editor-font-size: 13px;"].join(" ")} }`;
};
