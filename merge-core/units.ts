// Quantities as people read them; the command line and the pages say them alike.

/** Bytes with a binary unit and three significant digits. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  const value = bytes / 2 ** (10 * power);
  return `${power === 0 ? Math.round(value) : value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${units[power]}`;
}

/** Seconds as `12 s`, `3 min 20 s` or `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** Counts of parameters as `1.24 B` (thousand million), `7.1 M`, `512`. */
export function formatCount(count: number): string {
  const units = ["", " k", " M", " B", " T"];
  const power = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return power === 0 ? String(count) : `${Number((count / 1000 ** power).toPrecision(3))}${units[power]}`;
}
