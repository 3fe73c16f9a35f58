// A run's page follows the run's stream of events, as the command line does.
import { Charts } from "./charts.js";
import { refresh } from "./fragments.js";

const nowEvery = 2000; // ms between two looks at what is small
const restEvery = 5000; // and at what grows with the machines
const maxEvents = 500; // rows

export function followRun(page) {
  const id = encodeURIComponent(page.dataset.run);
  const address = `/run/${id}`;
  const news = document.getElementById("news");
  const charts = [
    new Charts(`${address}/chart`, document.getElementById("plots"),
      { metric: document.getElementById("metric"), by: document.getElementById("by") }, "No metric has come yet."),
    new Charts(`${address}/hosts`, document.getElementById("hostplots"), {}, "The machines have told nothing of themselves yet."),
  ];
  const draw = () => charts.forEach((chart) => chart.update());
  draw();
  if ("over" in page.dataset) {
    return;
  }

  const now = paced(nowEvery, () => refresh(`${address}?part=now`));
  const rest = paced(restEvery, () => refresh(`${address}?part=rest`));
  const stream = new EventSource(`/api/run/${id}/events?after=${page.dataset.after}`);
  const heartbeat = setInterval(() => { // also when nothing is told
    draw();
    now();
    rest();
  }, restEvery);
  stream.onopen = () => { news.textContent = "Live."; };
  stream.onerror = () => {
    news.textContent = stream.readyState === EventSource.CLOSED
      ? "The broker gives no news any more; load the page again."
      : "The broker does not answer; trying again.";
  };
  stream.addEventListener("metrics", () => {
    draw();
    now();
    rest();
  });
  for (const kind of ["run", "step", "machine", "note", "criterion"]) {
    stream.addEventListener(kind, (message) => {
      addEvent(JSON.parse(message.data));
      now();
      rest();
    });
  }
  stream.addEventListener("end", () => {
    stream.close();
    clearInterval(heartbeat);
    news.textContent = "The run is over.";
    now();
    rest();
    draw();
  });
}

// paced returns a function that calls work at most once in a time: at once, or
// when the time is over. A call that fails is made good by the next.
function paced(time, work) {
  let waiting = false;
  let last = -Infinity;
  return () => {
    if (waiting) {
      return;
    }
    waiting = true;
    setTimeout(async () => {
      last = performance.now();
      waiting = false;
      await work().catch(() => {});
    }, Math.max(0, last + time - performance.now()));
  };
}

function addEvent(event) {
  const rows = document.getElementById("events");
  const box = rows.closest(".wide");
  const atEnd = box.scrollTop + box.clientHeight > box.scrollHeight - 20;
  const row = rows.insertRow();
  const about = event.step ? event.step + (event.machine === undefined ? "" : `/${event.machine}`) : event.kind;
  for (const text of [event.at.slice(11, 23), about, event.text || event.state || ""]) {
    row.insertCell().textContent = text;
  }
  row.cells[0].className = "time";
  if (rows.rows.length > maxEvents) {
    rows.deleteRow(0);
  }
  if (atEnd) {
    box.scrollTop = box.scrollHeight;
  }
}
