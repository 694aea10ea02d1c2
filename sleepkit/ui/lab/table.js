// A native table of runs: checkboxes choose which are drawn, buttons act on one. Rows are updated in place, so that the focus
// and the reading position survive the next poll.
const SVG = "http://www.w3.org/2000/svg"
const DASHES = {solid: "", dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3", "2px,6px": "2 6"}

const STYLE = `
:host { contain: inline-size; --ink: #1f2937; --quiet: #4b5563; --line: #e5e7eb; --ground: #ffffff; --over: #f3f4f6; --accent: #1c5fb0; --bad: #b42318; --good: #1d6b33 }
:host(.dark) { --ink: #e5e7eb; --quiet: #aab2bf; --line: #374151; --ground: #121212; --over: #1f2937; --accent: #7db8ff; --bad: #ff9b94; --good: #7bdc93 }
.scroll { overflow: auto; height: 100%; box-sizing: border-box }
table { border-collapse: collapse; width: 100%; font: 13px/1.35 Inter, "Segoe UI", "Helvetica Neue", Arial, sans-serif; color: var(--ink); font-variant-numeric: tabular-nums }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
thead th { position: sticky; top: 0; background: var(--ground); z-index: 1; color: var(--quiet); font-weight: 500; text-align: left; padding: 3px 10px 5px 0; border-bottom: 1px solid var(--line); white-space: nowrap }
tbody td, tbody th { padding: 2px 10px 2px 0; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: left; font-weight: 400; height: 28px }
tbody tr:hover { background: var(--over) }
th.name { max-width: 0; width: 99%; min-width: 230px }
label { display: flex; align-items: center; gap: 7px; cursor: pointer; min-height: 24px; overflow: hidden }
label span { overflow: hidden; text-overflow: ellipsis }
input { width: 16px; height: 16px; margin: 0 0 0 2px; accent-color: var(--accent); flex: none }
svg { flex: none }
td.number, th.number { text-align: right }
/* What can be done with a run stays in sight however narrow the table is. */
.actions { position: sticky; right: 0; background: var(--ground); padding: 2px 0 2px 10px; box-shadow: -6px 0 6px -6px rgba(0, 0, 0, 0.35) }
thead .actions { z-index: 2 }
tbody tr:hover .actions { background: var(--over) }
@media (max-width: 600px) { th.name { min-width: 150px } }
.status { font-weight: 600 }
.training { color: var(--accent) }
.failed, .interrupted, .unreadable { color: var(--bad) }
.finished { color: var(--good) }
.steps { display: flex; align-items: center; gap: 8px; color: var(--quiet) }
progress { width: 76px; height: 7px; appearance: none; border: 0; border-radius: 4px; overflow: hidden; background: var(--line) }
progress::-webkit-progress-bar { background: var(--line) }
progress::-webkit-progress-value { background: var(--accent) }
progress::-moz-progress-bar { background: var(--accent) }
button, a.action { font: 500 12.5px/22px Inter, "Segoe UI", Arial, sans-serif; color: var(--accent); background: none; border: 1px solid currentColor; border-radius: 5px; padding: 0 9px; margin-right: 5px; cursor: pointer; text-decoration: none; display: inline-block }
button:hover, a.action:hover { background: var(--over) }
button:disabled { color: var(--quiet); cursor: default }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px }
.reason { color: var(--bad); white-space: normal }
.empty { color: var(--quiet); padding: 14px 2px }
`

function swatch(line) {
  const svg = document.createElementNS(SVG, "svg")
  svg.setAttribute("width", "30"); svg.setAttribute("height", "10"); svg.setAttribute("aria-hidden", "true")
  if (line) {
    const path = document.createElementNS(SVG, "line")
    const look = {x1: 0, y1: 5, x2: 30, y2: 5, stroke: line.colour, "stroke-width": 3, "stroke-dasharray": DASHES[line.dash] || ""}
    for (const [name, value] of Object.entries(look)) path.setAttribute(name, value)
    svg.append(path)
  }
  return svg
}

function make(tag, className = "", text = "") {
  const made = document.createElement(tag)
  if (className) made.className = className
  if (text) made.textContent = text
  return made
}

function write(cell, text, title = "") {
  if (cell.textContent !== text) cell.textContent = text
  if (cell.title !== title) cell.title = title
}

export function render({model, el}) {
  const root = el.getRootNode()
  const scroll = make("div", "scroll"), table = make("table"), head = make("tr"), body = make("tbody")
  const style = make("style", "", STYLE)
  scroll.tabIndex = 0
  scroll.setAttribute("role", "region")
  scroll.setAttribute("aria-label", "Runs in the store")
  table.append(make("caption", "", "Runs in the store: check those to draw"))
  const columns = ["Run", "State", "Steps", "Left", "Loss", "Right, held out", "Tokens/s", "Actions"]
  columns.forEach((name, place) => {
    const cell = make("th", place === 0 ? "name" : place >= 3 && place <= 6 ? "number" : "", name)
    if (name === "Actions") { cell.className = "actions" }
    cell.scope = "col"
    head.append(cell)
  })
  const thead = make("thead"), empty = make("div", "empty")
  thead.append(head)
  table.append(thead, body)
  scroll.append(table, empty)
  el.append(style, scroll)
  const rows = new Map()

  function build(row) {
    const tr = make("tr"), parts = {tr}
    tr.dataset.key = row.key
    const name = make("th", "name"), label = make("label")
    name.scope = "row"
    parts.box = make("input"); parts.box.type = "checkbox"
    parts.swatch = swatch(null); parts.text = make("span")
    label.append(parts.box, parts.swatch, parts.text)
    name.append(label)
    parts.box.addEventListener("change", () => {
      const others = model.selected.filter(key => key !== row.key)
      model.selected = parts.box.checked ? [...others, row.key] : others
    })
    tr.append(name)
    parts.status = make("td")
    tr.append(parts.status)
    parts.steps = make("td"); const inner = make("div", "steps")
    parts.bar = make("progress"); parts.count = make("span")
    parts.bar.max = 1
    inner.append(parts.bar, parts.count); parts.steps.append(inner); tr.append(parts.steps)
    for (const column of ["eta", "loss", "accuracy", "speed"]) {
      parts[column] = make("td", "number"); tr.append(parts[column])
    }
    parts.actions = make("td", "actions"); tr.append(parts.actions)
    return parts
  }

  function fill(parts, row) {
    parts.box.checked = model.selected.includes(row.key)
    parts.box.disabled = row.status === "unreadable"
    const look = JSON.stringify(row.line || null)
    if (parts.look !== look) {
      const fresh = swatch(row.line); parts.swatch.replaceWith(fresh); parts.swatch = fresh; parts.look = look
    }
    write(parts.text, row.label, row.title)
    write(parts.status, row.reason ? `${row.status}: ${row.reason}` : row.status, row.reason)
    parts.status.className = `status ${row.status}${row.reason ? " reason" : ""}`
    parts.status.colSpan = row.status === "unreadable" ? columns.length - 1 : 1
    for (const column of ["steps", "eta", "loss", "accuracy", "speed", "actions"]) {
      parts[column].hidden = row.status === "unreadable"
    }
    parts.bar.value = row.share
    parts.bar.setAttribute("aria-label", `steps of ${row.label}`)
    write(parts.count, row.steps)
    for (const column of ["eta", "loss", "accuracy", "speed"]) write(parts[column], row[column])
    const wanted = JSON.stringify([row.label, row.actions])
    if (parts.wanted !== wanted) {
      const focused = root.activeElement && parts.actions.contains(root.activeElement)
      parts.actions.replaceChildren(...row.actions.map(action => {
        const made = make(action.href ? "a" : "button", "action", action.label)
        made.setAttribute("aria-label", `${action.label}: ${row.label}`)
        if (action.href) made.href = action.href
        else {
          made.disabled = !!action.disabled
          made.addEventListener("click", () => model.send_msg({action: action.name, key: row.key}))
        }
        return made
      }))
      parts.wanted = wanted
      const next = parts.actions.querySelector("button:enabled, a") || parts.box
      if (focused) next.focus()
    }
  }

  function draw() {
    root.host && root.host.classList.toggle("dark", model.theme === "dark")
    const keys = model.rows.map(row => row.key)
    for (const [key, parts] of rows) if (!keys.includes(key)) { parts.tr.remove(); rows.delete(key) }
    model.rows.forEach((row, place) => {
      if (!rows.has(row.key)) rows.set(row.key, build(row))
      const parts = rows.get(row.key)
      fill(parts, row)
      if (body.children[place] !== parts.tr) body.insertBefore(parts.tr, body.children[place] || null)
    })
    empty.textContent = model.rows.length ? "" : model.nothing
  }
  for (const name of ["rows", "selected", "theme"]) model.on(name, draw)
  draw()
}
