// Parts of a page that the server writes anew. A part is the content of an
// element with data-live, and replaces that of the element of that name.

const pollEvery = 5000; // ms, of lists that no stream tells about

// refresh fetches parts and puts those that have changed in their places. A
// part in which the keyboard is, or text is selected, stays until the next time.
export async function refresh(address) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) {
    throw new Error(`${address}: ${response.status}`);
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.querySelector(`[data-live="${part.dataset.live}"]`);
    if (old && old.innerHTML !== part.innerHTML && !inUse(old)) {
      old.replaceChildren(...part.childNodes);
    }
  }
  if (fresh.title) {
    document.title = fresh.title;
  }
}

function inUse(element) {
  const selection = document.getSelection();
  return element.contains(document.activeElement) ||
    (!selection.isCollapsed && selection.containsNode(element, true));
}

// pollLists keeps lists of runs up to date while they are looked at.
export function pollLists() {
  const list = document.querySelector("[data-poll]");
  if (!list) {
    return;
  }
  const address = new URL(list.dataset.poll, location.href);
  for (const [name, value] of new URLSearchParams(location.search)) {
    address.searchParams.set(name, value);
  }
  const again = async () => {
    if (!document.hidden) {
      await refresh(address).catch(() => {}); // the next time may do better
    }
    setTimeout(again, pollEvery);
  };
  setTimeout(again, pollEvery);
}
