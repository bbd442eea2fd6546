// VGG-16's first convolutions on a CPU, in float32, by Winograd's F(4x4, 3x3): a quarter of the multiplications of a
// direct convolution. Called by XLA through its foreign function interface; see winograd.py, which also packs the weights.
//
// Source: Lavin & Gray 2016, "Fast algorithms for convolutional neural networks", section 4.1 and its matrices.
//
// Activations are [H][W][C], C a multiple of 64. A convolution is done for blocks of tiles of 4 x 4 outputs:
//   V[36][tiles][C] = B' d B of the 6 x 6 inputs of each tile;  M[p] = V[p] U[p] for each of the 36 points p;
//   Y = A' M A, then bias, ReLU and, before the next block of the network, the maximum of 2 x 2.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16, kRows = 6;  // 24 accumulators of 32 registers
#else
constexpr int kLanes = 8, kRows = 2;  // the panel takes eight registers a row
#endif
constexpr int kPanel = 64;  // features of one panel of packed weights
constexpr int kVectors = kPanel / kLanes;
constexpr int kTiles = 54;  // most tiles in a block: V and M of 64 features stay in the second-level cache

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float)), aligned(4)));

inline Vec load(const float* from) { return *reinterpret_cast<const Vec*>(from); }
inline void store(float* to, Vec v) { *reinterpret_cast<Vec*>(to) = v; }
inline Vec relu(Vec v) { return v < 0.0f ? Vec{} : v; }  // NaN stays
inline Vec larger(Vec a, Vec b) { return a < b ? b : a; }

struct Layer {
  int bands, features;
  bool pool;  // maximum of 2 x 2 after it
};
constexpr Layer kLayers[] = {{3, 64, false},    {64, 64, true},    {64, 128, false},  {128, 128, true},
                             {128, 256, false}, {256, 256, false}, {256, 256, false}};

// c[rows][kPanel] (+)= a[rows][depth] b[depth][kPanel]; the rows of a are `a_step` floats apart, those of c `c_step`.
template <int rows>
inline void product(int depth, const float* a, int a_step, const float* b, float* c, int c_step, bool add) {
  Vec sum[rows][kVectors];
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) sum[r][v] = add ? load(c + r * c_step + v * kLanes) : Vec{};
  for (int k = 0; k < depth; ++k) {
    Vec weights[kVectors];
    for (int v = 0; v < kVectors; ++v) weights[v] = load(b + k * kPanel + v * kLanes);
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < kVectors; ++v) sum[r][v] += a[r * a_step + k] * weights[v];
  }
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < kVectors; ++v) store(c + r * c_step + v * kLanes, sum[r][v]);
}

void products(int count, int depth, const float* a, int a_step, const float* b, float* c, int c_step, bool add) {
  int r = 0;
  for (; r + kRows <= count; r += kRows) product<kRows>(depth, a + r * a_step, a_step, b, c + r * c_step, c_step, add);
  for (; r < count; ++r) product<1>(depth, a + r * a_step, a_step, b, c + r * c_step, c_step, add);
}

// B' x of six vectors, `step` apart, in place.
inline void input_line(Vec* x, int step) {
  Vec x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step], x5 = x[5 * step];
  Vec even = x4 - 4.0f * x2, odd = x3 - 4.0f * x1, near = x4 - x2, far = 2.0f * (x3 - x1);
  x[0] = 4.0f * x0 - 5.0f * x2 + x4;
  x[step] = even + odd;
  x[2 * step] = even - odd;
  x[3 * step] = near + far;
  x[4 * step] = near - far;
  x[5 * step] = 4.0f * x1 - 5.0f * x3 + x5;
}

// A' m of six vectors, `step` apart; the four results take the places of the first four.
inline void output_line(Vec* m, int step) {
  Vec m0 = m[0], m1 = m[step], m2 = m[2 * step], m3 = m[3 * step], m4 = m[4 * step], m5 = m[5 * step];
  Vec sum = m1 + m2, gap = m1 - m2, wide = m3 + m4, apart = m3 - m4;
  m[0] = m0 + sum + wide;
  m[step] = gap + 2.0f * apart;
  m[2 * step] = sum + 4.0f * wide;
  m[3 * step] = gap + 8.0f * apart + m5;
}

struct Scratch {
  std::vector<float> transformed = std::vector<float>(size_t{36} * (kTiles * 256 + 16)), multiplied = transformed;
  std::vector<float> zeros = std::vector<float>(256);
};

// Kept from image to image: fresh memory costs as much as a layer.
struct Maps {
  std::vector<float> padded, here, next;
};

// What a layer gives: `raw` before its ReLU, in rows that are `raw_pitch` cells apart; `next` for the layer after it, with
// ReLU and maximum of 2 x 2. Either may be missing.
struct Outputs {
  float* raw;
  int raw_pitch;
  float* next;
};

// One image through one layer other than the first, for tiles from `begin` to `end` (counted by rows).
void convolve(const Layer& layer, const float* in, int height, int width, const float* weights, const float* bias,
              const Outputs& out, int begin, int end, Scratch& scratch) {
  const int bands = layer.bands, features = layer.features, across = (width + 3) / 4, count = end - begin;
  const int step = layer.pool ? 2 : 1, next_height = height / step, next_width = width / step;
  float *v = scratch.transformed.data(), *m = scratch.multiplied.data();
  // A cache line between the points, which would all fall into one set of the first-level cache otherwise.
  const size_t v_step = count * bands + 16, m_step = count * features + 16;

  for (int t = 0; t < count; ++t) {
    const int row = (begin + t) / across * 4 - 1, col = (begin + t) % across * 4 - 1;
    const float* from[36];
    for (int r = 0; r < 6; ++r)
      for (int c = 0; c < 6; ++c) {
        const bool inside = row + r >= 0 && row + r < height && col + c >= 0 && col + c < width;
        from[6 * r + c] = inside ? in + (size_t{1} * (row + r) * width + col + c) * bands : scratch.zeros.data();
      }
    for (int band = 0; band < bands; band += kLanes) {
      Vec x[36];
      for (int p = 0; p < 36; ++p) x[p] = load(from[p] + band);
      for (int c = 0; c < 6; ++c) input_line(x + c, 6);
      for (int r = 0; r < 6; ++r) input_line(x + 6 * r, 1);
      for (int p = 0; p < 36; ++p) store(v + p * v_step + t * bands + band, x[p]);
    }
  }

  for (int p = 0; p < 36; ++p)
    for (int panel = 0; panel < features; panel += kPanel)
      products(count, bands, v + p * v_step, bands, weights + (size_t{1} * p * features + panel) * bands,
               m + p * m_step + panel, features, false);

  for (int t = 0; t < count; ++t) {
    const int row = (begin + t) / across * 4, col = (begin + t) % across * 4;
    for (int feature = 0; feature < features; feature += kLanes) {
      Vec y[36];
      for (int p = 0; p < 36; ++p) y[p] = load(m + p * m_step + t * features + feature);
      for (int c = 0; c < 6; ++c) output_line(y + c, 6);
      for (int r = 0; r < 4; ++r) output_line(y + 6 * r, 1);
      const Vec plus = load(bias + feature);
      for (int r = 0; r < 4; ++r)
        for (int c = 0; c < 4; ++c) {
          y[6 * r + c] += plus;
          if (out.raw && row + r < height && col + c < width)
            store(out.raw + (size_t{1} * (row + r) * out.raw_pitch + col + c) * features + feature, y[6 * r + c]);
        }
      if (!out.next) continue;
      for (int r = 0; r < 4; r += step)
        for (int c = 0; c < 4; c += step) {
          const int to_row = (row + r) / step, to_col = (col + c) / step;
          if (to_row >= next_height || to_col >= next_width) continue;
          Vec value = y[6 * r + c];
          if (layer.pool) value = larger(larger(value, y[6 * r + c + 1]), larger(y[6 * r + c + 6], y[6 * r + c + 7]));
          store(out.next + (size_t{1} * to_row * next_width + to_col) * features + feature, relu(value));
        }
    }
  }
}

// Rows `begin` to `end` of the first layer, directly: it has three bands. `padded` has a border of one zero pixel.
void convolve_first(const float* padded, int width, const float* weights, const float* bias, const Outputs& out,
                    int begin, int end) {
  const int features = kLayers[0].features, line = 3 * (width + 2);
  for (int row = begin; row < end; ++row) {
    float* next = out.next ? out.next + size_t{1} * row * width * features : nullptr;
    float* to = out.raw ? out.raw + size_t{1} * row * out.raw_pitch * features : next;
    for (int col = 0; col < width; ++col) std::memcpy(to + col * features, bias, features * sizeof(float));
    for (int k = 0; k < 3; ++k)
      products(width, 9, padded + size_t{1} * (row + k) * line, 3, weights + k * 9 * kPanel, to, features, true);
    for (int i = 0; next && i < width * features; i += kLanes) store(next + i, relu(load(to + i)));
  }
}

// Calls work(0) ... work(count - 1), here and on the threads of the pool, and returns when all are done.
void for_each(ffi::ThreadPool& pool, int count, const std::function<void(int)>& work) {
  struct State {
    std::atomic<int> next{0}, done{0};
    std::mutex mutex;
    std::condition_variable all;
  };
  auto state = std::make_shared<State>();
  auto take = [state, count, &work] {
    for (int i; (i = state->next++) < count;) {
      work(i);  // not touched by a thread that comes late, when the caller may have left
      if (++state->done == count) {
        std::lock_guard<std::mutex> lock(state->mutex);
        state->all.notify_all();
      }
    }
  };
  const int helpers = static_cast<int>(std::min<int64_t>(pool.num_threads(), count)) - 1;
  for (int i = 0; i < helpers; ++i) pool.Schedule(decltype(take)(take));
  take();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->all.wait(lock, [&] { return state->done == count; });
}

void pad(const float* image, int height, int width, int pitch, float* padded) {
  const int line = 3 * (width + 2);
  std::memset(padded, 0, sizeof(float) * line * (height + 2));
  for (int row = 0; row < height; ++row)
    std::memcpy(padded + (row + 1) * line + 3, image + size_t{1} * row * pitch * 3, sizeof(float) * width * 3);
}

// One image, whose rows are `pitch` pixels apart, through some layers, of which `raw` has what is wanted before the ReLU
// (nullptr: nothing), with rows of `raw_pitch` cells; `in_turn` does the parts of a layer, one after the other or on
// several threads.
void network(const float* image, int height, int width, int pitch, const float* weights, int layers,
             float* const* raw, const int* raw_pitch,
             const std::function<void(int, const std::function<void(int)>&)>& in_turn) {
  static thread_local Maps kept;
  Maps& maps = kept;  // of this thread, for the others that help it too
  maps.padded.resize(size_t{3} * (height + 2) * (width + 2));
  pad(image, height, width, pitch, maps.padded.data());
  for (int n = 0; n < layers; ++n) {
    const Layer& layer = kLayers[n];
    const bool last = n + 1 == layers;
    const float* bias = weights + size_t{1} * (n == 0 ? 27 : 36 * layer.bands) * layer.features;
    const size_t size = size_t{1} * height * width * layer.features;
    if (!last && maps.next.size() < size) maps.next.resize(size);
    const Outputs out{raw[n], raw_pitch[n], last ? nullptr : maps.next.data()};
    if (n == 0) {
      in_turn((height + 15) / 16, [&](int part) {
        convolve_first(maps.padded.data(), width, weights, bias, out, 16 * part, std::min(height, 16 * part + 16));
      });
    } else {
      const int tiles = ((height + 3) / 4) * ((width + 3) / 4), parts = (tiles + kTiles - 1) / kTiles;
      const int share = (tiles + parts - 1) / parts;
      in_turn(parts, [&](int part) {
        static thread_local Scratch scratch;
        const int begin = part * share, end = std::min(tiles, begin + share);
        if (begin < end) convolve(layer, maps.here.data(), height, width, weights, bias, out, begin, end, scratch);
      });
    }
    if (layer.pool && !last) height /= 2, width /= 2;
    weights = bias + layer.features;
    std::swap(maps.here, maps.next);
  }
}

ffi::Error forward(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::F32> packed,
                   ffi::Buffer<ffi::S32> sizes, ffi::RemainingRets outputs, ffi::Span<const int32_t> wanted) {
  constexpr int kMost = sizeof(kLayers) / sizeof(kLayers[0]);
  const auto shape = x.dimensions();
  if (shape.size() < 3 || shape.back() != 3 || wanted.size() < 1 || wanted.size() != outputs.size())
    return ffi::Error::InvalidArgument("winograd: give [..., H, W, 3] and one output for each layer");
  const int height = shape[shape.size() - 3], width = shape[shape.size() - 2];
  const size_t in_size = size_t{3} * height * width;
  const int count = x.element_count() / in_size;
  float* all[kMost] = {};  // of all images
  size_t size_of[kMost] = {};
  int pitch_of[kMost] = {}, layers = 0;
  for (size_t k = 0; k < wanted.size(); ++k) {
    auto y = outputs.get<ffi::Buffer<ffi::F32>>(k);
    const int n = wanted[k];
    if (!y.has_value() || n < 0 || n >= kMost)
      return ffi::Error::InvalidArgument("winograd: layers are 0 to 6, and their outputs float32");
    all[n] = (*y)->typed_data();
    size_of[n] = (*y)->element_count() / count;
    pitch_of[n] = (*y)->dimensions()[(*y)->dimensions().size() - 2];
    layers = std::max(layers, n + 1);
  }
  size_t weights = 0;
  for (int n = 0; n < layers; ++n) weights += ((n ? 36 : 9) * kLayers[n].bands + 1) * kLayers[n].features;
  if (packed.element_count() != weights)
    return ffi::Error::InvalidArgument("winograd: one set of packed weights is wanted; do not map over parameters");
  // Rows and columns of each image, or of all; what stands beyond them in its array is not read.
  const int own_sizes = sizes.element_count() / 2;
  if (own_sizes < 1 || count % own_sizes) return ffi::Error::InvalidArgument("winograd: give sizes of the images");
  const int shared = count / own_sizes;
  auto one = [&](int i, auto in_turn) {
    const int* size = sizes.typed_data() + 2 * (i / shared);
    const int rows = std::min(size[0], height), columns = std::min(size[1], width);
    float* raw[kMost] = {};
    for (int n = 0; n < layers; ++n)
      if (all[n]) {
        raw[n] = all[n] + i * size_of[n];
        if (rows < height || columns < width) std::memset(raw[n], 0, sizeof(float) * size_of[n]);
      }
    if (rows > 0 && columns > 0)
      network(x.typed_data() + i * in_size, rows, columns, width, packed.typed_data(), layers, raw, pitch_of, in_turn);
  };
  auto alone = [](int parts, const std::function<void(int)>& work) {
    for (int part = 0; part < parts; ++part) work(part);
  };
  auto together = [&](int parts, const std::function<void(int)>& work) { for_each(pool, parts, work); };
  // Whole images side by side while there are enough for all threads; what is left, one after the other by parts.
  const int threads = std::max<int64_t>(1, pool.num_threads()), whole = count / threads * threads;
  for_each(pool, whole, [&](int i) { one(i, alone); });
  for (int i = whole; i < count; ++i) one(i, together);
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(planetcd_winograd, forward,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::F32>>()
                                  .Arg<ffi::Buffer<ffi::S32>>()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int32_t>>("layers"));
