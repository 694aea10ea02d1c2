// One plotly figure in an element: drawn once its figure is there, redrawn with the newest one, as wide as its pane.

const ARRAYS = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array, f4: Float32Array, f8: Float64Array,
}

// Arrays come as {dtype, bdata (base64), shape}: make rows of numbers of them, which is what figures are asked for.
function decoded(value) {
  if (value === null || typeof value !== "object") { return value }
  if (Array.isArray(value)) { return value.map(decoded) }
  if (typeof value.bdata !== "string") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, decoded(each)]))
  }
  const bytes = Uint8Array.from(atob(value.bdata), letter => letter.charCodeAt(0))
  const flat = new ARRAYS[value.dtype](bytes.buffer)
  const shape = String(value.shape ?? flat.length).split(",").map(Number)
  if (shape.length === 1) { return Array.from(flat) }
  const width = shape[1]
  return Array.from({length: shape[0]}, (_, row) => Array.from(flat.subarray(row * width, (row + 1) * width)))
}

// Plotly writes its rules into the head of the document, where they do not reach into the shadow of a component.
function adoptRules(root) {
  const own = document.getElementById("plotly.js-style-global")
  if (own === null || root.querySelector("style[data-plotly]")) { return }
  const style = document.createElement("style")
  style.dataset.plotly = "rules"
  style.textContent = Array.from(own.sheet.cssRules, rule => rule.cssText).join("\n")
  root.append(style)
}

// Lines of words that fit a width, as plotly's titles do not break by themselves.
function wrapped(text, most) {
  const lines = [""]
  for (const word of text.split(" ")) {
    const last = lines.at(-1)
    if (last !== "" && last.length + 1 + word.length > most) { lines.push(word) } else { lines[lines.length - 1] = last === "" ? word : `${last} ${word}` }
  }
  return lines.map(line => line.replaceAll("&", "&amp;").replaceAll("<", "&lt;"))
}

// A picture that explains itself outside the page: with the title of its pane, the settings, and a legend where lines need one.
async function save(plot, model) {
  const width = Math.max(SMALLEST_PICTURE_PX, plot.clientWidth)
  const layout = JSON.parse(JSON.stringify(plot.layout))
  const head = model.caption === "" ? [] : wrapped(model.caption, width / 8.4)
  const small = model.settings === "" ? [] : wrapped(model.settings, width / 6.2)
  const room = 21 * head.length + 17 * small.length + 24
  const text = [...head.map(line => `<b>${line}</b>`), ...small.map(line => `<span style="font-size:12px">${line}</span>`)].join("<br>")
  const margin = {...layout.margin, t: (layout.margin?.t ?? 16) + room}
  const title = {text, font: {size: 15}, x: 0, xref: "container", xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: {t: 22, l: 12}}
  Object.assign(layout, {width, height: model.height_px + room, margin, title, autosize: false})
  if (model.legend) {
    const rows = 22 * plot.data.length
    Object.assign(layout, {showlegend: true, height: layout.height + rows, margin: {...margin, b: (margin.b ?? 48) + rows}})
    layout.legend = {orientation: "h", x: 0, xanchor: "left", y: 0, yref: "container", yanchor: "bottom"}
  }
  const name = model.config.toImageButtonOptions?.filename ?? "sleepkit"
  const link = document.createElement("a")
  link.href = await Plotly.toImage({data: plot.data, layout}, {format: "png", width, height: layout.height, scale: 2})
  link.download = `${name}.png`
  link.click()
}

function point(event) {
  const {x, y, curveNumber, pointNumber, customdata} = event.points[0]
  return {x, y, curveNumber, pointNumber, customdata: customdata ?? null}
}

const SMALLEST_PICTURE_PX = 640

export function render({model, el}) {
  const plot = document.createElement("div")
  Object.assign(plot.style, {width: "100%", height: `${model.height_px}px`})
  let shown = null
  let busy = false

  async function draw() {
    if (busy || plot.clientWidth === 0 || model.figure === "" || model.figure === shown) { return }
    busy = true
    const first = shown === null
    shown = model.figure
    const {data, layout} = decoded(JSON.parse(shown))
    Object.assign(layout, {width: plot.clientWidth, height: model.height_px, autosize: false})
    const camera = {name: "camera", title: "Save as PNG", icon: Plotly.Icons.camera, click: () => save(plot, model)}
    const config = {...model.config, modeBarButtonsToAdd: [camera]}
    await (first ? Plotly.newPlot(plot, data, layout, config) : Plotly.react(plot, data, layout, config))
    if (first) {
      adoptRules(plot.getRootNode())
      plot.on("plotly_click", event => model.send_msg({points: [point(event)]}))
    }
    busy = false
    draw()
  }

  const resized = new ResizeObserver(() => {
    if (shown === null) {
      draw()
    } else if (plot.clientWidth > 0 && plot.clientWidth !== plot._fullLayout?.width) {
      Plotly.relayout(plot, {width: plot.clientWidth})
    }
  })
  resized.observe(plot)
  model.on("figure", draw)
  model.on("remove", () => {
    resized.disconnect()
    Plotly.purge(plot)
  })
  return plot
}
