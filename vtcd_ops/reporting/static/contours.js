// Outlines of a concept in one frame: the edge between its voxels and all others, as loops.

const STEPS = [[1, 0], [0, 1], [-1, 0], [0, -1]]; // right, down, left, up

// For every corner of the voxel grid, which directions the outline leaves in (one bit each):
// around a voxel clockwise, along those of its edges that have no such voxel behind them.
function outlineEdges(inside, width, height) {
  const stride = width + 1;
  const edges = new Uint8Array(stride * (height + 1));
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (!inside(x, y)) continue;
      const corner = y * stride + x;
      if (y === 0 || !inside(x, y - 1)) edges[corner] |= 1;
      if (x === width - 1 || !inside(x + 1, y)) edges[corner + 1] |= 2;
      if (y === height - 1 || !inside(x, y + 1)) edges[corner + stride + 1] |= 4;
      if (x === 0 || !inside(x - 1, y)) edges[corner + stride] |= 8;
    }
  }
  return edges;
}

function followLoop(edges, stride, start) {
  const loop = [];
  let corner = start;
  let direction = Math.log2(edges[corner] & -edges[corner]);
  do {
    loop.push([corner % stride, Math.floor(corner / stride)]);
    edges[corner] &= ~(1 << direction);
    corner += STEPS[direction][0] + stride * STEPS[direction][1];
    // Where two voxels touch at a corner only, turning right keeps them apart.
    const turns = [direction + 1, direction, direction + 3].map((turn) => turn % 4);
    direction = turns.find((turn) => edges[corner] & (1 << turn));
  } while (direction !== undefined && corner !== start);
  return loop;
}

// Round off the staircase of voxel edges. Points on the frame's border stay there, so that a
// concept that fills the frame still fills it. No voxel, however small, disappears.
function smoothLoop(loop, width, height) {
  const pinned = ([x, y]) => x === 0 || y === 0 || x === width || y === height;
  return loop.map((point, index) => {
    if (pinned(point)) return point;
    const before = loop[(index + loop.length - 1) % loop.length];
    const after = loop[(index + 1) % loop.length];
    return [(before[0] + 2 * point[0] + after[0]) / 4, (before[1] + 2 * point[1] + after[1]) / 4];
  });
}

// Loops around the voxels of `value` in one frame, in voxel units.
function traceLoops(volume, frame, value) {
  const { width, height, frames, voxels } = volume;
  const inside = (x, y) => voxels[(y * width + x) * frames + frame] === value;
  const edges = outlineEdges(inside, width, height);
  const loops = [];
  for (let corner = 0; corner < edges.length; corner++) {
    while (edges[corner]) {
      const loop = followLoop(edges, width + 1, corner);
      const once = smoothLoop(loop, width, height);
      loops.push(smoothLoop(once, width, height));
    }
  }
  return loops;
}

// A path through the middles of the loop's sides, curved at its points.
function loopsToPath(loops, scaleX, scaleY) {
  const path = new Path2D();
  for (const loop of loops) {
    const last = loop[loop.length - 1];
    path.moveTo(((last[0] + loop[0][0]) / 2) * scaleX, ((last[1] + loop[0][1]) / 2) * scaleY);
    loop.forEach((point, index) => {
      const next = loop[(index + 1) % loop.length];
      const [x, y] = [(point[0] + next[0]) / 2, (point[1] + next[1]) / 2];
      path.quadraticCurveTo(point[0] * scaleX, point[1] * scaleY, x * scaleX, y * scaleY);
    });
    path.closePath();
  }
  return path;
}

// Which concepts a frame shows, in how many voxels, and where to write their numbers: at the voxel
// that lies deepest inside the concept, of several the one nearest its centre of mass. The centre
// itself may lie in another concept.
function labelPoints(volume, frame) {
  const { width, height, frames, voxels } = volume;
  const values = Uint8Array.from({ length: width * height }, (_, place) => voxels[place * frames + frame]);
  const depths = depthsInside(values, width, height);
  const found = new Map();
  const each = (visit) => values.forEach((value, place) => {
    if (value) visit(value, place % width, Math.floor(place / width), depths[place]);
  });
  each((value, x, y) => {
    const sum = found.get(value) ?? { x: 0, y: 0, count: 0, deepest: 0, nearest: Infinity };
    sum.x += x;
    sum.y += y;
    sum.count += 1;
    found.set(value, sum);
  });
  each((value, x, y, depth) => {
    const sum = found.get(value);
    const distance = (x - sum.x / sum.count) ** 2 + (y - sum.y / sum.count) ** 2;
    if (depth < sum.deepest || (depth === sum.deepest && distance >= sum.nearest)) return;
    Object.assign(sum, { deepest: depth, nearest: distance, point: [x + 0.5, y + 0.5] });
  });
  return found;
}

// How many steps right, left, up or down lead out of the value of each voxel: twice through all.
function depthsInside(values, width, height) {
  const depths = new Uint16Array(values.length);
  const step = (place, x, y, sides) => {
    let least = depths[place] || 65535;
    for (const [dx, dy] of sides) {
      const [nx, ny] = [x + dx, y + dy];
      const beside = ny * width + nx;
      const out = nx < 0 || ny < 0 || nx >= width || ny >= height || values[beside] !== values[place];
      least = Math.min(least, out ? 1 : depths[beside] + 1);
    }
    depths[place] = least;
  };
  for (let place = 0; place < values.length; place++) {
    step(place, place % width, Math.floor(place / width), [[-1, 0], [0, -1]]);
  }
  for (let place = values.length - 1; place >= 0; place--) {
    step(place, place % width, Math.floor(place / width), [[1, 0], [0, 1]]);
  }
  return depths;
}

// Share of each frame that a concept covers.
function coverage(volume, value) {
  const { frames, voxels } = volume;
  const shares = new Float64Array(frames);
  for (let index = 0; index < voxels.length; index++) {
    if (voxels[index] === value) shares[index % frames] += 1;
  }
  return shares.map((count) => (count * frames) / voxels.length);
}
