// The address follows the settings, and the settings follow Back and Forward.
const BURST_MS = 1000

// Colours are no place to go back to.
function place(search) {
  const settings = new URLSearchParams(search)
  settings.delete("theme")
  return settings.toString()
}

export function render({model}) {
  let fresh = false  // whether the visitor began something since the address was written last
  let touched_ms = -Infinity

  const touch = () => {
    const now_ms = performance.now()
    fresh = fresh || now_ms - touched_ms > BURST_MS
    touched_ms = now_ms
  }
  function write() {
    if (model.search === window.location.search || model.search === "") { return }
    const address = `${window.location.pathname}${model.search}${window.location.hash}`
    if (fresh && place(model.search) !== place(window.location.search)) {
      window.history.pushState({}, "", address)
    } else {
      window.history.replaceState({}, "", address)
    }
    fresh = false
  }
  function visit() {
    fresh = false
    touched_ms = -Infinity
    model.send_msg({search: window.location.search})
  }

  const listened = ["pointerdown", "keydown"]
  for (const kind of listened) { window.addEventListener(kind, touch, {capture: true, passive: true}) }
  window.addEventListener("popstate", visit)
  model.on("search", write)
  model.on("remove", () => {
    for (const kind of listened) { window.removeEventListener(kind, touch, {capture: true}) }
    window.removeEventListener("popstate", visit)
  })
  write()
  return document.createElement("span")
}
