/** Milliseconds that this thread has computed; of the whole process where Node cannot tell threads apart. */
export function busyMs(): number {
  const usage = (process as { threadCpuUsage?: () => NodeJS.CpuUsage }).threadCpuUsage?.() ?? process.cpuUsage();
  return (usage.user + usage.system) / 1000;
}
