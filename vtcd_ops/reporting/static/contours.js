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

// Which concepts a frame shows and where to write their numbers: the voxel nearest the centre of
// mass, as the centre of mass itself may lie outside.
function labelPoints(volume, frame) {
  const { width, height, frames, voxels } = volume;
  const sums = new Map();
  const each = (visit) => {
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const value = voxels[(y * width + x) * frames + frame];
        if (value) visit(value, x, y);
      }
    }
  };
  each((value, x, y) => {
    const sum = sums.get(value) ?? { x: 0, y: 0, count: 0, best: Infinity };
    sum.x += x;
    sum.y += y;
    sum.count += 1;
    sums.set(value, sum);
  });
  each((value, x, y) => {
    const sum = sums.get(value);
    const distance = (x - sum.x / sum.count) ** 2 + (y - sum.y / sum.count) ** 2;
    if (distance < sum.best) Object.assign(sum, { best: distance, point: [x + 0.5, y + 0.5] });
  });
  return sums;
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
