// A software Vulkan driver, where this machine has one: SwiftShader as Chromium ships it, or one named by the usual variables.
import { existsSync } from "node:fs";
import { dirname } from "node:path";

const SWIFTSHADER = [
  "/usr/lib/chromium/vk_swiftshader_icd.json",
  "/usr/lib/chromium-browser/vk_swiftshader_icd.json",
  "/opt/google/chrome/vk_swiftshader_icd.json",
];

/** Variables that a process needs from its start on for Dawn to find the driver; undefined if there is none. */
export function softwareGpu(): NodeJS.ProcessEnv | undefined {
  const named = process.env.VK_DRIVER_FILES ?? process.env.VK_ICD_FILENAMES;
  const icd = named ?? SWIFTSHADER.find((file) => existsSync(file));
  if (icd === undefined) return undefined;
  const libraries = [dirname(icd), process.env.LD_LIBRARY_PATH].filter(Boolean).join(":");
  return { ...process.env, LD_LIBRARY_PATH: libraries, VK_DRIVER_FILES: icd, VK_ICD_FILENAMES: icd };
}
