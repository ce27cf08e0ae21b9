// The map: points by WebGL, labels and marks on a canvas above, and how it is moved.

const FINEST = 65535;
const VERTEX = `#version 300 es
in vec2 place; in vec4 color;
uniform vec2 centre, scale; uniform float size, shown, opacity; uniform vec4 faint;
out vec4 shade;
void main() {
  bool wanted = color.a > 0.5;
  gl_PointSize = size;
  gl_Position = wanted == (shown > 0.5) ? vec4((place - centre) * scale, 0, 1) : vec4(2, 2, 2, 1);
  shade = wanted ? vec4(color.rgb, opacity) : faint;
}`;
const FRAGMENT = `#version 300 es
precision highp float;
in vec4 shade; uniform float size; out vec4 pixel;
void main() {
  float distance = length(gl_PointCoord - 0.5) * 2.0;
  float edge = 1.0 - smoothstep(1.0 - min(3.0 / size, 1.0), 1.0, distance);
  pixel = vec4(shade.rgb, 1) * shade.a * edge;
}`;

class Chart {
  constructor(points, marks, places) {
    Object.assign(this, { points, marks, places, count: places.length / 2, moving: false, frame: 0, budget: 200000 });
    this.colors = new Uint8Array(4 * this.count);
    this.paint = () => {};
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.start();
    new ResizeObserver(() => this.resize()).observe(points);
    points.addEventListener("webglcontextlost", (event) => event.preventDefault());
    points.addEventListener("webglcontextrestored", () => { this.start(); this.draw(); });
  }

  start() {
    const gl = (this.gl = this.points.getContext("webgl2", { antialias: false, alpha: true }));
    if (!gl) throw new Error("this browser has no WebGL 2");
    const program = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    const names = ["centre", "scale", "size", "shown", "opacity", "faint"];
    this.uniforms = Object.fromEntries(names.map((name) => [name, gl.getUniformLocation(program, name)]));
    const attribute = (name, data, size, kind, normalized) => {
      const buffer = gl.createBuffer();
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      const at = gl.getAttribLocation(program, name);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, kind, normalized, 0, 0);
      return buffer;
    };
    attribute("place", this.places, 2, gl.UNSIGNED_SHORT, false);
    this.colorBuffer = attribute("color", this.colors, 4, gl.UNSIGNED_BYTE, true);
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  }

  resize() {
    const whole = !this.width || Math.abs(this.zoom - 1) < 1e-6;
    [this.width, this.height] = [this.points.clientWidth, this.points.clientHeight];
    this.ratio = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.points, this.marks]) {
      [canvas.width, canvas.height] = [this.width * this.ratio, this.height * this.ratio];
    }
    if (whole) this.view = this.whole();
    this.draw();
  }

  // The view that shows everything: what lies in the middle, and pixels for each unit of places.
  whole() {
    return { x: FINEST / 2, y: FINEST / 2, scale: (0.92 * Math.min(this.width, this.height)) / FINEST };
  }

  get zoom() {
    return this.view.scale / this.whole().scale;
  }

  // Diameter of a point in pixels: smaller where there are many, larger when one looks closely.
  get size() {
    const room = 0.26 * Math.sqrt((this.width * this.height) / this.count);
    return Math.min(Math.max(room, 2), 9) * Math.min(this.zoom ** 0.4, 4);
  }

  screen(i) {
    const { x, y, scale } = this.view;
    return [this.width / 2 + (this.places[2 * i] - x) * scale, this.height / 2 - (this.places[2 * i + 1] - y) * scale];
  }

  world(left, top) {
    const { x, y, scale } = this.view;
    return [x + (left - this.width / 2) / scale, y - (top - this.height / 2) / scale];
  }

  recolor() {
    this.gl.bindBuffer(this.gl.ARRAY_BUFFER, this.colorBuffer);
    this.gl.bufferData(this.gl.ARRAY_BUFFER, this.colors, this.gl.STATIC_DRAW);
    this.draw();
  }

  // Marks are painted each time, points only where they moved or look different.
  draw(points = true) {
    this.stale ||= points;
    this.frame ||= requestAnimationFrame((now) => { this.frame = 0; this.render(now); });
  }

  // While it moves, a map that can't keep up shows the first of its points: they are in a random order.
  render(now) {
    if (!this.width || !this.view) return;
    if (this.moving) {
      const apart = now - this.last;
      if (apart > 30) this.budget = Math.max(this.budget * Math.max(24 / apart, 0.1), 10000);
      else if (apart < 18) this.budget *= 1.2;
      this.budget = Math.min(this.budget, this.count);
      this.moving = now - this.moved < Math.max(160, 2 * apart || 0);
      this.last = now;
      if (this.moving) this.draw();
    }
    if (this.stale) this.paintPoints(this.moving ? Math.floor(this.budget) : this.count);
    this.stale = false;
    const context = this.marks.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    this.paint(context);
  }

  paintPoints(count) {
    const { gl, uniforms, view, ratio } = this;
    gl.viewport(0, 0, this.points.width, this.points.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT);
    gl.uniform2f(uniforms.centre, view.x, view.y);
    gl.uniform2f(uniforms.scale, (2 * view.scale) / this.width, (2 * view.scale) / this.height);
    gl.uniform1f(uniforms.size, this.size * ratio);
    gl.uniform1f(uniforms.opacity, this.size < 3 ? 0.7 : 0.85);
    gl.uniform4f(uniforms.faint, 0.5, 0.55, 0.6, 0.1);
    for (const shown of this.filtered ? [0, 1] : [1]) {
      gl.uniform1f(uniforms.shown, shown);
      gl.drawArrays(gl.POINTS, 0, count);
    }
  }

  move(view) {
    const least = this.whole().scale;
    const inside = (value) => Math.min(Math.max(value, 0), FINEST);
    this.view = { x: inside(view.x), y: inside(view.y), scale: Math.min(Math.max(view.scale, least / 2), least * 3000) };
    if (!this.moving) this.last = NaN;
    [this.moving, this.moved] = [true, performance.now()];
    this.draw();
  }

  pan(right, down) {
    const { x, y, scale } = this.view;
    this.move({ x: x - right / scale, y: y + down / scale, scale });
  }

  zoomAt(factor, left = this.width / 2, top = this.height / 2) {
    const [x, y] = this.world(left, top);
    const scale = this.view.scale * factor;
    this.move({ x: x - (left - this.width / 2) / scale, y: y + (top - this.height / 2) / scale, scale });
  }

  fly(to) {
    cancelAnimationFrame(this.flight);
    if (this.still.matches) return this.move(to);
    const [from, began] = [this.view, performance.now()];
    const step = (now) => {
      const t = Math.min((now - began) / 450, 1);
      const share = t * t * (3 - 2 * t);
      const between = (a, b) => a + (b - a) * share;
      this.move({ x: between(from.x, to.x), y: between(from.y, to.y), scale: from.scale * (to.scale / from.scale) ** share });
      if (t < 1) this.flight = requestAnimationFrame(step);
    };
    this.flight = requestAnimationFrame(step);
  }
}

// Dragging, pinching, the wheel and keys. `pick` and `hover` are told where.
const steer = (chart, { pick, hover }) => {
  const canvas = chart.points;
  const held = new Map();
  let far = 0;
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); held.set(event.pointerId, at(event)); if (held.size === 1) far = 0; });
  canvas.addEventListener("pointermove", (event) => {
    const here = at(event);
    const before = held.get(event.pointerId);
    if (!before) return hover(...here);
    const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
    held.set(event.pointerId, here);
    far += Math.hypot(here[0] - before[0], here[1] - before[1]);
    if (!other) return far > 4 && chart.pan(here[0] - before[0], here[1] - before[1]);
    const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
    chart.zoomAt(apart(here) / apart(before), (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  });
  const release = (event) => { if (held.delete(event.pointerId) && event.type === "pointerup" && far <= 4 && !held.size) pick(...at(event)); };
  for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, release);
  canvas.addEventListener("pointerleave", () => hover());
  canvas.addEventListener("wheel", (event) => { event.preventDefault(); chart.zoomAt(Math.exp(-event.deltaY * 0.0016), ...at(event)); }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const keys = {
      ArrowLeft: () => chart.pan(60, 0), ArrowRight: () => chart.pan(-60, 0),
      ArrowUp: () => chart.pan(0, 60), ArrowDown: () => chart.pan(0, -60),
      "+": () => chart.zoomAt(1.5), "=": () => chart.zoomAt(1.5), "-": () => chart.zoomAt(1 / 1.5),
      0: () => chart.fly(chart.whole()), Enter: () => pick(chart.width / 2, chart.height / 2, Infinity),
    };
    if (keys[event.key] && !event.ctrlKey && !event.metaKey && !event.altKey) { event.preventDefault(); keys[event.key](); }
  });
};
