// SPDX-License-Identifier: MIT
// The table of contents: every operator of torch.ops.vtcd, with the shapes of its tensors. The
// kernels are in <operator>.cpp, fake kernels and derivatives in vtcd_ops/ops/.
//
//   B batch   A heads   N tokens, P of them prefix   C channels of a head   (t,h,w) token grid
//   (T,H,W) volume   S tubelets   U units of all layers and heads   M masks
//   P problems of a ragged batch, of N_p rows each; ΣN rows in all, problem p has [offsets[p],
//   offsets[p+1]) K concepts of a problem, Kmax the largest
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(vtcd, m) {
  // Supervoxels of features interpolated to a volume (SLIC).
  //   features [B, C, t, h, w] floating   size (T, H, W)   ->   labels int32 [B, T, H, W], from 0
  m.def(
      "slic3d(Tensor features, SymInt[3] size, int n_segments=12, float compactness=0.1, *, "
      "int max_num_iter=10, float[3] spacing=[1, 1, 1], bool enforce_connectivity=True, "
      "float min_size_factor=0.5, float max_size_factor=3.0, str interpolation=\"trilinear\") "
      "-> Tensor labels");

  // Mean of the interpolated features over each label; label -1 is ignored.
  //   features [B, C, t, h, w] floating   labels int32 or int64 [B, T, H, W]
  //   ->   means [B, S, C], counts int64 [B, S]
  m.def(
      "tubelet_pool(Tensor features, Tensor labels, SymInt num_tubelets, "
      "str interpolation=\"trilinear\") -> (Tensor means, Tensor counts)");

  // Derivative of the means with respect to the features.
  //   grad_means [B, S, C]   labels [B, T, H, W]   counts int64 [B, S]   grid (t, h, w)
  //   ->   [B, C, t, h, w]
  m.def(
      "_tubelet_pool_backward(Tensor grad_means, Tensor labels, Tensor counts, SymInt[3] grid, "
      "str interpolation) -> Tensor");

  // Convex non-negative matrix factorisation of a ragged batch, X ~ encoding · (weights^T X).
  //   data [ΣN, C]   offsets int64 [P+1]   k int64 [P]   init int64 [ΣN], a labelling
  //   ->   weights [ΣN, Kmax], encoding [ΣN, Kmax], centers [P, Kmax, C], error [P], num_iter int64
  //   [P]
  m.def(
      "cnmf(Tensor data, Tensor offsets, Tensor k, *, Tensor? init=None, str solver=\"cd\", "
      "int max_num_iter=1000, float tol=1e-6, int seed=0) "
      "-> (Tensor weights, Tensor encoding, Tensor centers, Tensor error, Tensor num_iter)");

  // k-means (k-means++ starts, the best of num_restarts runs) of a ragged batch.
  //   data [ΣN, C]   offsets int64 [P+1]   k int64 [P]
  //   ->   labels int32 [ΣN], centers [P, Kmax, C], inertia [P], num_iter int64 [P]
  m.def(
      "kmeans(Tensor data, Tensor offsets, Tensor k, *, int num_restarts=10, int max_num_iter=300, "
      "float tol=1e-4, int seed=0) "
      "-> (Tensor labels, Tensor centers, Tensor inertia, Tensor num_iter)");

  // Silhouette coefficient of every row under a labelling, per problem.
  //   data [ΣN, C]   offsets int64 [P+1]   labels int32 or int64 [ΣN]   ->   [ΣN]
  m.def("silhouette(Tensor data, Tensor offsets, Tensor labels) -> Tensor");

  // Multiplies the features of every token by what a table says of the token's unit.
  //   x [B, A, N, C] floating   assign int32 [B or 1, A, N-P], a column of keep, -1: never masked
  //   keep [B, U] bool or floating   P = num_prefix_tokens   ->   [B, A, N, C]
  m.def("concept_mask(Tensor x, Tensor assign, Tensor keep, int num_prefix_tokens=0) -> Tensor");

  // Derivatives of what concept_mask returned with respect to x and to a floating keep.
  //   grad, x [B, A, N, C]   assign int32 [B or 1, A, N-P]   keep floating [B, U]
  //   ->   grad_x [B, A, N, C], grad_keep [B, U]
  m.def(
      "_concept_mask_backward(Tensor grad, Tensor x, Tensor assign, Tensor keep, "
      "int num_prefix_tokens) -> (Tensor grad_x, Tensor grad_keep)");

  // Random masks that remove a fixed share of all units; mask i is always the same.
  //   ->   keep bool [M, U], M = num_masks, U = num_units
  m.def(
      "cris_sample(int num_units, int num_masks, float ratio, int seed, int start=0, "
      "str design=\"simple\", *, Device? device=None) -> Tensor keep");

  // The same masks where a tensor is; its values do not matter.
  m.def(
      "_cris_sample_like(Tensor like, int num_units, int num_masks, float ratio, int seed, "
      "int start, str design) -> Tensor keep");

  // Adds the drops of masks to the sums of the units they remove (row 0) and keep (row 1).
  //   count int64 [2, U]   total, total_sq float64 [2, U]   keep bool [M, U]   drop float64 [M]
  //   present bool [U]
  m.def(
      "cris_accumulate(Tensor(a!) count, Tensor(b!) total, Tensor(c!) total_sq, Tensor keep, "
      "Tensor drop, Tensor? present=None) -> ()");

  // Tuples of concepts, one from each of 2 to max_order models, whose supports overlap (Rosetta
  // concepts): all with a score of at least delta, or the `top` best of every order.
  //   supports int64 [ΣC·ΣW], one bit a voxel: for each video v the rows of all ΣC concepts, of
  //   W_v words each   videos int64 [V+1], offsets of W   models int64 [D+1], offsets of C
  //   ->   tuples int32 [Q, D], a concept of each model or -1, scores float64 [Q]
  m.def(
      "rosetta_search(Tensor supports, Tensor videos, Tensor models, float delta=0.15, *, "
      "int max_order=8, int top=0, int max_tuples=1000000) -> (Tensor tuples, Tensor scores)");

  // |intersection| / |union| of the supports of each tuple in each video, NaN where the union is
  // empty.
  //   supports, videos, models as above   tuples int32 [Q, D]   ->   float64 [Q, V]
  m.def("rosetta_ratios(Tensor supports, Tensor videos, Tensor models, Tensor tuples) -> Tensor");

  // Pixels of the contours of two masks that lie at most `radius` from the other contour.
  //   prediction, truth bool [T, H, W]   ->   int64 [T, 4]: of the prediction matched and all, of
  //   the truth matched and all
  m.def("contour_match(Tensor prediction, Tensor truth, int radius) -> Tensor");
}
