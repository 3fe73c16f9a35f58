// Follows the output of containers on a page of logs.

const maxLines = 5000; // kept on the page

export async function followLog(log) {
  const state = document.getElementById("following");
  state.textContent = "Live.";
  try {
    const response = await fetch(log.dataset.follow, { headers: { Accept: "application/x-ndjson" } });
    if (!response.ok || response.redirected) {
      throw new Error(response.statusText);
    }
    log.replaceChildren(); // the stream begins with the same tail
    const lines = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await lines.read();
      if (done) {
        break;
      }
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      show(log, parts.filter(Boolean).map((part) => JSON.parse(part)));
    }
    state.textContent = "The output has ended.";
  } catch {
    state.textContent = "The output can't be followed any more; load the page again.";
  }
}

function show(log, lines) {
  const atEnd = log.scrollTop + log.clientHeight > log.scrollHeight - 30;
  for (const line of lines) {
    const row = document.createElement("div");
    const at = document.createElement("span");
    at.className = "at";
    at.textContent = line.message ?? `${line.at.slice(11, 23)} ${line.step}/${line.machine}`;
    const text = document.createElement("span");
    text.className = line.stream === "stderr" ? "err" : "";
    text.textContent = line.text ?? "";
    row.append(at, " ", text);
    log.append(row);
  }
  while (log.childElementCount > maxLines) {
    log.firstElementChild.remove();
  }
  if (atEnd) {
    log.scrollTop = log.scrollHeight;
  }
}
