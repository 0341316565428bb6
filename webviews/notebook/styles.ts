// Styles of every kind of output.
import charts from "../common/charts.css";
import report from "../common/report.css";
import comparison from "../comparison/comparison.css";
import pareto from "../pareto/pareto.css";
import runs from "../runs/runs.css";
import own from "./notebook.css";

export const STYLES: readonly string[] = [report, charts, comparison, pareto, runs, own];
