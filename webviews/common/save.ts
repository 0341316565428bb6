// Where exported files go: in the editor to the host, which asks for a place; elsewhere the browser downloads them.

export type SaveFile = (name: string, content: Blob) => void;

const download: SaveFile = (name, content) => {
  const link = document.createElement("a");
  link.download = name;
  link.href = URL.createObjectURL(content);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

let current: SaveFile = download;

/** Sets where files go from now on. */
export function saveThrough(save: SaveFile): void {
  current = save;
}

export const saveFile = (name: string, text: string, type: string): void => current(name, new Blob([text], { type }));

export const saveBlob = (name: string, content: Blob): void => current(name, content);
