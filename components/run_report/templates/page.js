"use strict";
// Draws the charts and players of the page from the JSON in data-chart and data-player.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

  function element(name, attributes, parent, text) {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (text !== undefined) node.textContent = text;
    if (parent) parent.appendChild(node);
    return node;
  }

  function formatted(value) {
    const size = Math.abs(value);
    if (size !== 0 && (size < 0.0001 || size >= 1e7)) return value.toExponential(1).replace(".0e", "e").replace("e-", "e−").replace("e+", "e");
    const digits = size >= 100 || Number.isInteger(value) ? (size >= 1000 || Number.isInteger(value) ? 0 : 1) : size >= 1 ? 2 : 4;
    return value.toLocaleString("en", {maximumFractionDigits: digits});
  }

  function ticks(low, high, most) {
    const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find(factor => factor * power >= rough) * power;
    const marks = [];
    for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) marks.push(+at.toPrecision(12));
    return marks;
  }

  function powers(low, high) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const multiples = factors => {
      const marks = [];
      for (let power = first; power <= last; power++) factors.forEach(factor => marks.push(factor * 10 ** power));
      return marks.filter(mark => mark >= low && mark <= high);
    };
    return [[1], [1, 3], [1, 2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9]].map(multiples).find(marks => marks.length > 1) || [low, high];
  }

  function chart(figure) {
    const spec = JSON.parse(figure.dataset.chart);
    const lines = spec.kind === "lines";
    const frame = figure.querySelector(".frame"), output = figure.querySelector("output");
    const whole = figure.querySelector(".whole");
    const height = figure.classList.contains("small") ? 150 : figure.classList.contains("short") ? 190 : 260;
    const all = lines ? spec.series.flatMap(series => series.x) : [];
    const first = Math.min(...all), last = Math.max(...all);
    const range = lines ? [first < last / 5 ? 0 : first, last] : [-0.5, spec.values.length - 0.5];
    let view = range, cursor = null, drag = null, place;

    function extent() {
      if (spec.kind === "bars") return [0, Math.max(...spec.values) * 1.06 || 1];
      let values;
      if (lines) {
        // The first steps' high values would flatten the rest: they may leave the frame at its top.
        const settled = spec.y.log ? view[0] : view[0] + (view[1] - view[0]) * 0.04;
        values = spec.series.flatMap(({x, y}) => y.filter((_, i) => x[i] >= settled && x[i] <= view[1]));
        if (!values.length) values = spec.series.flatMap(series => series.y);
      } else values = spec.intervals.flat();
      if (spec.limit && !lines) values.push(spec.limit.y);
      let low = Math.min(...values), high = Math.max(...values);
      if (spec.y.log) return [low / 1.3, high * 1.3];
      const room = (high - low || Math.abs(high) || 1) * 0.08;
      return [low >= 0 ? Math.max(0, low - room) : low - room, high + room];
    }

    function draw() {
      const width = frame.clientWidth;
      if (!width) return;
      frame.textContent = "";
      const [low, high] = extent();
      const marks = spec.y.log ? powers(low, high) : ticks(low, high, height < 160 ? 3 : 5);
      const left = Math.max(...marks.map(mark => formatted(mark).length)) * 7 + 12, right = width - 10, top = 8, bottom = height - 38;
      const svg = element("svg", {viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true"}, frame);
      const X = value => left + (value - view[0]) / ((view[1] - view[0]) || 1) * (right - left);
      const map = spec.y.log ? Math.log : value => value;
      const Y = value => bottom - (map(value) - map(low)) / ((map(high) - map(low)) || 1) * (bottom - top);
      place = {X, left, right, width};
      for (const mark of marks) {
        element("line", {class: "grid", x1: left, x2: right, y1: Y(mark), y2: Y(mark)}, svg);
        element("text", {x: left - 6, y: Y(mark) + 4, "text-anchor": "end"}, svg, formatted(mark));
      }
      if (lines) {
        for (const mark of ticks(view[0], view[1], Math.max(2, (right - left) / 90)))
          element("text", {x: X(mark), y: bottom + 17, "text-anchor": X(mark) > right - 18 ? "end" : "middle"}, svg, formatted(mark));
      } else {
        const every = Math.ceil(spec.names.length * 26 / (right - left));
        spec.names.forEach((name, i) => {
          if (i % every === 0) element("text", {x: X(i), y: bottom + 17, "text-anchor": "middle"}, svg, name);
        });
      }
      element("text", {x: (left + right) / 2, y: height - 4, "text-anchor": "middle"}, svg, spec.x.label);
      const id = "clip" + [...document.querySelectorAll(".chart")].indexOf(figure);
      element("rect", {x: left - 4, y: top - 4, width: Math.max(0, right - left) + 8, height: bottom - top + 8}, element("clipPath", {id}, svg));
      const inside = element("g", {"clip-path": `url(#${id})`}, svg);
      if (spec.limit && spec.limit.y >= low && spec.limit.y <= high)
        element("line", {class: "limit", x1: left, x2: right, y1: Y(spec.limit.y), y2: Y(spec.limit.y)}, svg);
      if (lines) drawLines(inside, X, Y); else drawNames(inside, X, Y, right - left);
      if (cursor !== null && lines) element("line", {class: "cursor", x1: X(cursor), x2: X(cursor), y1: top, y2: bottom}, inside);
      if (drag && lines) element("rect", {class: "selection", x: Math.min(drag.from, drag.to), y: top, width: Math.abs(drag.to - drag.from), height: bottom - top}, inside);
      showValues();
    }

    function color(index) { return spec.series.length === 1 ? "s1" : "s" + index % 3; }

    function drawLines(parent, X, Y) {
      spec.series.forEach(({x, y}, index) => {
        const path = x.map((at, i) => `${i ? "L" : "M"}${X(at).toFixed(1)} ${Y(y[i]).toFixed(1)}`).join("");
        element("path", {class: color(index), d: path}, parent);
        const few = x.length <= 40;
        x.forEach((at, i) => {
          if (few || (cursor !== null && i === nearest(x, cursor)))
            element("circle", {class: `dot ${color(index)}`, cx: X(at), cy: Y(y[i]), r: few ? 3.5 : 4}, parent);
        });
      });
    }

    function drawNames(parent, X, Y, width) {
      const half = Math.min(30, width / spec.values.length * 0.38);
      spec.values.forEach((value, i) => {
        const on = cursor === i ? " on" : "";
        if (spec.kind === "bars") {
          element("rect", {class: "bar" + on, x: X(i) - half, y: Y(value), width: 2 * half, height: Math.max(0, Y(0) - Y(value))}, parent);
        } else {
          element("line", {class: "whisker", x1: X(i), x2: X(i), y1: Y(spec.intervals[i][0]), y2: Y(spec.intervals[i][1])}, parent);
          element("circle", {class: "mark" + on, cx: X(i), cy: Y(value), r: 5.5}, parent);
        }
      });
    }

    function nearest(x, at) {
      let low = 0, high = x.length - 1;
      while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] < at) low = middle; else high = middle; }
      return at - x[low] < x[high] - at ? low : high;
    }

    function showValues() {
      output.textContent = "";
      const append = (text, value, swatch) => {
        const item = document.createElement("span");
        if (swatch) { const box = document.createElement("i"); box.className = "swatch " + swatch; item.append(box); }
        const bold = document.createElement("b");
        bold.textContent = value;
        item.append(text + " ", bold);
        output.append(item, " ");
      };
      if (lines) {
        const at = cursor === null ? view[1] : cursor;
        const first = spec.series.length ? spec.series[0].x : [];
        const shown = first.length ? first[nearest(first, at)] : at;
        append(spec.x.label, formatted(shown));
        spec.series.forEach(({name, x, y}, index) => {
          const i = nearest(x, at), elsewhere = x[i] === shown ? "" : ` (at ${formatted(x[i])})`;
          append(name + elsewhere, formatted(y[i]), color(index));
        });
      } else if (cursor === null) {
        output.append(`Point at a ${spec.x.label} for its value. `);
      } else {
        append(spec.x.label + " " + spec.names[cursor] + ":", formatted(spec.values[cursor]) + " " + spec.y.label);
        if (spec.intervals) append("95%", spec.intervals[cursor].map(formatted).join(" to "));
      }
      if (spec.limit) append("┄ " + spec.limit.name, formatted(spec.limit.y));
    }

    function show(from, to) {
      const least = (range[1] - range[0]) / 200;
      if (to - from < least) return;
      view = [Math.max(range[0], from), Math.min(range[1], to)];
      whole.hidden = view[0] === range[0] && view[1] === range[1];
      draw();
    }
    const at = event => clamp(event.clientX - frame.getBoundingClientRect().left, place.left, place.right);
    const value = pixel => view[0] + (pixel - place.left) / (place.right - place.left) * (view[1] - view[0]);

    frame.addEventListener("pointermove", event => {
      if (!place) return;
      const x = value(at(event));
      cursor = lines ? x : clamp(Math.round(x), 0, spec.values.length - 1);
      if (drag) drag.to = at(event);
      draw();
    });
    frame.addEventListener("pointerleave", () => { if (!drag) { cursor = null; draw(); } });
    if (lines) {
      frame.addEventListener("pointerdown", event => {
        if (event.pointerType !== "mouse") return;
        drag = {from: at(event), to: at(event)};
        frame.setPointerCapture(event.pointerId);
      });
      frame.addEventListener("pointerup", () => {
        if (!drag) return;
        const [from, to] = [Math.min(drag.from, drag.to), Math.max(drag.from, drag.to)];
        drag = null;
        if (to - from > 8) show(value(from), value(to)); else draw();
      });
      frame.addEventListener("dblclick", () => show(...range));
      whole.addEventListener("click", () => { show(...range); frame.focus(); });
    }
    frame.addEventListener("keydown", event => {
      const [low, high] = lines ? view : [0, spec.values.length - 1];
      const step = lines ? (high - low) / 50 : 1;
      const here = cursor === null ? (event.key === "ArrowRight" ? low - step : high + step) : cursor;
      const keys = {ArrowLeft: here - step, ArrowRight: here + step, Home: low, End: high};
      if (event.key in keys) cursor = clamp(keys[event.key], low, high);
      else if (lines && "+=-0".includes(event.key) && event.key.length === 1) {
        const centre = cursor === null ? (low + high) / 2 : cursor, half = (high - low) / 2;
        const reach = event.key === "-" ? half * 2 : half / 2;
        event.key === "0" ? show(...range) : show(centre - reach, centre + reach);
      } else return;
      event.preventDefault();
      draw();
    });
    if (spec.follow) document.addEventListener("drawing-step", event => { cursor = event.detail; draw(); });
    new ResizeObserver(draw).observe(frame);
  }

  function player(figure) {
    const spec = JSON.parse(figure.dataset.player);
    const sprite = figure.querySelector("img"), canvas = figure.querySelector("canvas");
    const button = figure.querySelector(".play"), range = figure.querySelector("input[type=range]");
    const output = figure.querySelector("output"), boxes = [...figure.querySelectorAll("input[type=checkbox]")];
    const pen = canvas.getContext("2d"), gap = 8, follows = spec.windows.length < 2 && spec.frames > 1;
    let step = spec.steps - 1, timer = null, seen = false;

    // A picture's parts are side by side, each with a margin for windows that reach beyond it.
    const wide = spec.width + 2 * spec.margin, high = spec.height + 2 * spec.margin;

    function arrangement(width) {
      const least = clamp(wide * 2, 92, 160) * spec.parts;
      const fitting = clamp(Math.floor((width + gap) / (least + gap)), 1, spec.count);
      // Prefer full rows unless the pictures become much larger.
      const even = [...Array(fitting).keys()].map(place => fitting - place).find(columns => spec.count % columns === 0);
      return even * 2 > fitting ? even : fitting;
    }

    function draw() {
      const width = canvas.parentElement.clientWidth;
      if (!width || !sprite.naturalWidth) return;
      const ratio = devicePixelRatio || 1, columns = arrangement(width);
      // Larger pictures would show no more.
      const most = Math.max(220, wide * 2) * spec.parts, cell = Math.min((width - gap * (columns - 1)) / columns, most);
      const scale = cell / (wide * spec.parts), tall = high * scale, text = spec.labels.length ? 20 : 0;
      const margin = spec.margin * scale, style = getComputedStyle(figure);
      const rows = Math.ceil(spec.count / columns), height = rows * (tall + text + gap) - gap;
      canvas.style.height = height + "px";
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      pen.scale(ratio, ratio);
      pen.imageSmoothingEnabled = false;
      pen.font = "13px system-ui, sans-serif";
      for (let i = 0; i < spec.count; i++) {
        const x = (i % columns) * (cell + gap), y = Math.floor(i / columns) * (tall + text + gap);
        const frame = Math.min(step, spec.frames - 1);
        pen.fillStyle = style.getPropertyValue("--faint");
        pen.fillRect(x, y, cell, tall);
        for (let part = 0; part < spec.parts; part++) {
          const from = (frame * spec.parts + part) * spec.width, at = x + part * wide * scale;
          pen.drawImage(sprite, from, i * spec.height, spec.width, spec.height, at + margin, y + margin, spec.width * scale, spec.height * scale);
        }
        spec.windows.forEach((window, kind) => {
          const at = x + (spec.parts > 1 ? kind * wide * scale : 0);
          if (boxes[kind].checked) rectangle(window[i][step], at, y, scale, tall, kind);
        });
        if (text) { pen.fillStyle = style.color; pen.fillText(spec.labels[i], x, y + tall + 15); }
      }
      range.value = step + 1;
      output.textContent = `step ${step + 1} of ${spec.steps}`;
      range.setAttribute("aria-valuetext", output.textContent);
      if (follows) document.dispatchEvent(new CustomEvent("drawing-step", {detail: step}));
    }

    function rectangle([left, top, right, bottom, sharp], x, y, scale, tall, kind) {
      pen.save();
      pen.beginPath(); pen.rect(x, y, wide * scale, tall); pen.clip();
      pen.lineWidth = Math.max(1.25, sharp * 6);
      pen.strokeStyle = ["#ff7a1a", "#2aa5f0"][kind];
      // (0, 0) is the centre of the first pixel.
      const offset = spec.margin + 0.5;
      pen.strokeRect(x + (left + offset) * scale, y + (top + offset) * scale, (right - left) * scale, (bottom - top) * scale);
      pen.restore();
    }

    function advance() {
      step = (step + 1) % spec.steps;
      draw();
      timer = setTimeout(advance, step === spec.steps - 1 ? 1800 : spec.steps > 16 ? 80 : 220);
    }
    function play() { if (timer === null) { button.textContent = "Pause"; advance(); } }
    function pause() { clearTimeout(timer); timer = null; button.textContent = "Play"; }

    button.addEventListener("click", () => timer === null ? play() : pause());
    range.addEventListener("input", () => { pause(); step = range.value - 1; draw(); });
    boxes.forEach(box => box.addEventListener("change", draw));
    new ResizeObserver(draw).observe(canvas.parentElement);
    sprite.decode().then(draw);
    new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) pause();
      else if (!seen) { seen = true; if (!matchMedia("(prefers-reduced-motion: reduce)").matches) play(); }
    }, {threshold: 0.3}).observe(canvas);
  }

  document.querySelectorAll("[data-chart]").forEach(chart);
  document.querySelectorAll("[data-player]").forEach(player);
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(details => { details.open = true; }));
})();
