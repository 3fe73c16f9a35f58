// What script adds to the pages: what is new, without loading again, and charts.
import { followLog } from "./log.js";
import { pollLists } from "./fragments.js";
import { followRun } from "./run.js";

pollLists();
const run = document.getElementById("run");
if (run) {
  followRun(run);
}
const log = document.querySelector("[data-follow]");
if (log) {
  followLog(log);
}
