// Small charts: a line over the last values of a thing, drawn on a canvas.

const MAX_POINTS = 40;

// Appends a value to the chart and draws it. The line has the colour of the canvas's text.
export function addPoint(canvas, value) {
  const points = (canvas.points ??= []);
  points.push(value);
  if (points.length > MAX_POINTS) points.shift();
  draw(canvas);
}

// Draws the chart again, for example after the colours have changed.
export function draw(canvas) {
  const { points = [], clientWidth: width, clientHeight: height } = canvas;
  const scale = globalThis.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.strokeStyle = context.fillStyle = getComputedStyle(canvas).color;
  context.lineWidth = 1.5;
  context.lineJoin = context.lineCap = "round";

  const margin = 3;
  const [low, high] = [Math.min(...points), Math.max(...points)];
  const x = (at) => width - margin - ((points.length - 1 - at) / (MAX_POINTS - 1)) * (width - 2 * margin);
  // A flat line stands in the middle.
  const y = (value) => (high > low ? margin + ((high - value) / (high - low)) * (height - 2 * margin) : height / 2);
  context.beginPath();
  points.forEach((value, at) => context.lineTo(x(at), y(value)));
  context.stroke();
  if (points.length > 0) {
    context.beginPath();
    context.arc(x(points.length - 1), y(points.at(-1)), 2, 0, 2 * Math.PI);
    context.fill();
  }
}
