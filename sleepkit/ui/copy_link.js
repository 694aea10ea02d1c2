// A button that copies the address of the page. Pages over plain http have no clipboard: there a selected field is copied as
// browsers have always done it, and where that fails too the field stays open to be copied from by hand.
const SAID_MS = 5000

const STYLE = `
:host { display: inline-flex; align-items: center }
.row { display: inline-flex; align-items: center; gap: 8px; flex-wrap: wrap }
button { font: 500 13px/28px Roboto, Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--panel-primary-color, inherit); background: none; border: 1px solid currentColor; border-radius: 4px; padding: 0 8px; cursor: pointer; white-space: nowrap }
button:hover { background: rgba(128, 128, 128, 0.14) }
button:focus-visible, input:focus-visible { outline: 2px solid var(--panel-primary-color, currentColor); outline-offset: 2px }
[role=status] { font: 13px/28px Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--panel-on-background-color, inherit) }
[role=status]:empty { display: none }
input { font: 13px/26px ui-monospace, Menlo, Consolas, monospace; width: 240px; max-width: 60vw; color: inherit; background: transparent; border: 1px solid currentColor; border-radius: 4px; padding: 0 6px }
input[hidden] { display: none }
`

function copiedFrom(field) {
  const before = field.hidden
  field.hidden = false
  field.focus()
  field.select()
  let copied = false
  try { copied = document.execCommand("copy") } catch { copied = false }
  field.hidden = before
  return copied
}

export function render({model}) {
  const style = document.createElement("style")
  style.textContent = STYLE
  const row = document.createElement("div"), button = document.createElement("button")
  const said = document.createElement("span"), field = document.createElement("input")
  row.className = "row"
  button.type = "button"
  button.textContent = "Copy link"
  said.setAttribute("role", "status")
  field.readOnly = true
  field.hidden = true
  field.setAttribute("aria-label", "Link to this page")
  row.append(style, button, said, field)
  let timer = null

  function say(text, stays) {
    clearTimeout(timer)
    said.textContent = text
    if (!stays) { timer = setTimeout(() => { said.textContent = "" }, SAID_MS) }
  }
  function close() {
    field.hidden = true
    say("", true)
  }

  button.addEventListener("click", async () => {
    close()
    field.value = window.location.href
    let copied = false
    if (navigator.clipboard && window.isSecureContext) {
      try {
        await navigator.clipboard.writeText(field.value)
        copied = true
      } catch { copied = false }
    }
    if (!copied) {
      copied = copiedFrom(field)
      button.focus()
    }
    if (copied) {
      say("Link copied.", false)
    } else {
      field.hidden = false
      field.focus()
      field.select()
      say("The browser does not let a page copy: press Ctrl+C or \u2318C to copy the link.", true)
    }
  })
  field.addEventListener("keydown", event => {
    if (event.key === "Escape") {
      close()
      button.focus()
    }
  })
  model.on("remove", () => clearTimeout(timer))
  return row
}
