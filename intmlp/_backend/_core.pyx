# cython: language_level=3, freethreading_compatible=True
"""The binding of the C core: shapes, dtypes, pointers and the GIL; no arithmetic.

What each function promises stands in `_core.pyi`.
"""

cimport numpy as cnp
from cpython.long cimport PyLong_AsLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t

from ..qformat import OVERFLOWS, ROUNDINGS, Accumulator, QFormat
from ..stream import Stream

cnp.import_array()


cdef extern from "intmlp.h" nogil:
    ctypedef enum im_rounding:
        IM_STOCHASTIC
    ctypedef enum im_overflow:
        pass
    ctypedef struct im_format:
        int bits
        int frac
        im_rounding rounding
        im_overflow overflow
        int random_bits
    ctypedef struct im_accumulator:
        int bits
        im_overflow overflow
    ctypedef struct im_stream:
        uint64_t seed
        uint32_t step
        uint32_t tensor
        int64_t first
    ctypedef enum im_elem:
        IM_I32
        IM_I64
    ctypedef enum im_status:
        IM_OK
        IM_NO_MEMORY
        IM_NOT_EXACT
        IM_NOT_FINITE
    ctypedef struct im_matrix:
        const void *data
        ptrdiff_t row_stride
        ptrdiff_t col_stride
        im_elem elem
        int bits
    ctypedef struct im_isa:
        pass
    ctypedef struct im_scratch:
        void *data
        size_t size
        int threads
    ctypedef enum im_activation:
        IM_LINEAR
        IM_RELU
        IM_LEAKY_RELU
        IM_HARD_TANH
        IM_HARD_SIGMOID
        IM_SIGMOID
        IM_TANH
    ctypedef enum im_loss_kind:
        IM_SSE
        IM_HALF_SSE
        IM_CROSS_ENTROPY
    ctypedef struct im_layer:
        int64_t n_in
        int64_t n_out
        im_format activation
        im_format weight
        im_format delta
        im_format gradient
        im_format velocity
        im_activation function
        bint half_at_zero
        int slope_shift
        const int16_t *table
        void *W
        void *b
        double *master_W
        double *master_b
        void *velocity_W
        void *velocity_b
        im_packed *packed_W
    ctypedef struct im_net:
        im_format input
        im_layer *layers
        int depth
        im_loss_kind loss
        const int32_t *exps
        int64_t exps_size
        bint two_step
        bint forward_float
        bint backward_float
        bint update_float
        im_accumulator accumulator
        int momentum_shift
        int decay_shift
        im_stream stream
    ctypedef enum im_source_kind:
        IM_SOURCE_F32
        IM_SOURCE_F64
        IM_SOURCE_I32
        IM_SOURCE_I64
    ctypedef struct im_source:
        const void *data
        ptrdiff_t row_stride
        ptrdiff_t col_stride
        im_source_kind kind

    void im_quantize(const im_isa *isa, const void *v, im_source_kind kind, int64_t n,
                     im_format fmt, im_stream stream, void *out)
    void im_dequantize(const im_isa *isa, const void *raw, im_elem elem, int64_t n, int frac,
                       double *out)
    void im_requantize(const im_isa *isa, const void *s, im_elem elem, int64_t n, int frac_in,
                       im_format fmt, im_stream stream, void *out)
    im_scratch im_scratch_take()
    void im_scratch_give_back(im_scratch scratch)
    im_status im_matmul(const im_isa *isa, im_matrix a, im_matrix b, int64_t m, int64_t n,
                        int64_t k, const void *bias, im_elem bias_elem, int bias_shift,
                        im_accumulator accumulator, int frac_in, im_format fmt, im_stream stream,
                        void *out, int kernel, im_scratch *scratch)
    ctypedef struct im_packed:
        bint valid
    void im_packed_free(im_packed *packed)
    ctypedef struct im_explanation:
        const char *kernel
        const char *accumulator
        int64_t a_low
        int64_t a_high
        int64_t b_low
        int64_t b_high
        int64_t block
    im_status im_explain_matmul(const im_isa *isa, im_matrix a, im_matrix b, int64_t m, int64_t n,
                                int64_t k, const void *bias, im_elem bias_elem, int bias_shift,
                                im_accumulator accumulator, im_explanation *explanation)
    bint im_source_is_valid(im_source x, int64_t rows, int64_t columns, im_format fmt)
    void im_set_threads(int n)
    void im_limit_threads(int n)
    int im_threads()
    const im_isa *const *im_isas()
    const char *im_isa_name(const im_isa *isa)
    const char *im_isa_kernel(const im_isa *isa, int index)
    bint im_isa_kernel_usable(const im_isa *isa, int index)
    im_status im_forward(const im_isa *isa, const im_net *net, im_source x, int64_t n, void *out)
    im_status im_gradient(const im_isa *isa, const im_net *net, im_source x, im_source y,
                          int64_t n, int average_shift, void *const *gW, void *const *gb)
    ctypedef struct im_count:
        pass
    ctypedef struct im_observed:
        im_count *counts
        int64_t *idle
        int64_t every
        int64_t before
        bint stop_on_overflow
        bint only_overflows
    bint im_trains_online(const im_net *net, int64_t batch, int64_t count, int shift)
    int64_t im_train(const im_isa *isa, const im_net *net, im_source x, im_source y,
                     const int64_t *order, int64_t n_order, int64_t batch, int64_t first,
                     int64_t count, int lr_shift, int average_shift, int32_t *right,
                     double *loss, const im_observed *observed)

cdef extern from *:
    """
    #if defined(__clang__)
    #define IM_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define IM_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define IM_COMPILER "msvc"
    #else
    #define IM_COMPILER "unknown compiler"
    #endif
    /* The instruction set in use: read by every call, whatever thread changes it. */
    #ifdef _MSC_VER
    static const im_isa *volatile im_serving;
    #else
    static const im_isa *_Atomic im_serving;
    #endif
    """
    const char *IM_COMPILER
    const im_isa *im_serving


cdef const im_isa *const *isas = im_isas()  # asked once, by the one thread that imports
im_serving = isas[0]

cdef dict ROUNDING_CODES = {name: code for code, name in enumerate(ROUNDINGS)}
cdef dict OVERFLOW_CODES = {name: code for code, name in enumerate(OVERFLOWS)}


def instruction_sets():
    names = []
    cdef int i = 0
    while isas[i] != NULL:
        names.append(im_isa_name(isas[i]).decode())
        i += 1
    return tuple(names)


def use_instruction_set(name):
    global im_serving
    im_serving = isas[<int>instruction_sets().index(name)]


def build_info():
    return {"compiler": IM_COMPILER.decode().strip()}


def matmul_kernels():
    names = []
    cdef int index = 0
    while im_isa_kernel(im_serving, index) != NULL:
        if im_isa_kernel_usable(im_serving, index):
            names.append(im_isa_kernel(im_serving, index).decode())
        index += 1
    return tuple(names)


cdef int kernel_index(name) except -1:
    """Return the index of a kernel that this processor can run."""
    cdef int index = 0
    if name not in matmul_kernels():
        raise ValueError(f"kernel must be one of {', '.join(matmul_kernels())}, got {name!r}")
    while im_isa_kernel(im_serving, index).decode() != name:
        index += 1
    return index


def set_threads(int n):
    im_set_threads(n)


def limit_threads(int n):
    im_limit_threads(n)


def threads():
    return im_threads()


cdef im_format as_format(fmt) except *:
    cdef im_format c
    c.bits = fmt.bits
    c.frac = fmt.frac
    c.rounding = <im_rounding><int>ROUNDING_CODES[fmt.rounding]
    c.overflow = <im_overflow><int>OVERFLOW_CODES[fmt.overflow]
    c.random_bits = fmt.random_bits
    return c


cdef im_stream as_stream(stream) except *:
    """Return the words of a Stream; of None any, as none are read."""
    cdef im_stream c
    c.first = 0
    c.seed, c.step, c.tensor = 0, 0, 0
    if stream is not None:
        c.seed, c.step, c.tensor = stream.seed, stream.step, stream.tensor
    return c


cdef inline im_elem elem_of(cnp.ndarray array):
    return IM_I32 if cnp.PyArray_ITEMSIZE(array) == 4 else IM_I64


cdef inline im_source_kind kind_of(cnp.ndarray array):
    if cnp.PyArray_ISFLOAT(array):
        return IM_SOURCE_F32 if cnp.PyArray_ITEMSIZE(array) == 4 else IM_SOURCE_F64
    return IM_SOURCE_I32 if cnp.PyArray_ITEMSIZE(array) == 4 else IM_SOURCE_I64


cdef inline int dtype_of(im_format fmt):
    return cnp.NPY_INT32 if fmt.bits <= 32 else cnp.NPY_INT64


cdef inline cnp.ndarray new_like(cnp.ndarray array, im_format fmt):
    """Return an empty raw array of `fmt` with the shape of `array`."""
    return cnp.PyArray_EMPTY(cnp.PyArray_NDIM(array), cnp.PyArray_DIMS(array),
                             dtype_of(fmt), 0)


cpdef quantize(cnp.ndarray v, fmt, stream=None):
    cdef im_format c = as_format(fmt)
    cdef im_stream words = as_stream(stream)
    cdef cnp.ndarray out = new_like(v, c)
    cdef im_source_kind kind = kind_of(v)
    cdef const void *data = cnp.PyArray_DATA(v)
    cdef void *to = cnp.PyArray_DATA(out)
    cdef int64_t n = cnp.PyArray_SIZE(v)
    cdef const im_isa *use = im_serving
    with nogil:
        im_quantize(use, data, kind, n, c, words, to)
    return out


cpdef dequantize(cnp.ndarray raw, fmt):
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(cnp.PyArray_NDIM(raw), cnp.PyArray_DIMS(raw),
                                             cnp.NPY_FLOAT64, 0)
    cdef const void *data = cnp.PyArray_DATA(raw)
    cdef double *to = <double *>cnp.PyArray_DATA(out)
    cdef im_elem elem = elem_of(raw)
    cdef int frac = fmt.frac
    cdef int64_t n = cnp.PyArray_SIZE(raw)
    cdef const im_isa *use = im_serving
    with nogil:
        im_dequantize(use, data, elem, n, frac, to)
    return out


cpdef requantize(cnp.ndarray s, int frac_in, fmt, stream=None):
    cdef im_format c = as_format(fmt)
    cdef im_stream words = as_stream(stream)
    cdef cnp.ndarray out = new_like(s, c)
    cdef const void *data = cnp.PyArray_DATA(s)
    cdef void *to = cnp.PyArray_DATA(out)
    cdef im_elem elem = elem_of(s)
    cdef int64_t n = cnp.PyArray_SIZE(s)
    cdef const im_isa *use = im_serving
    with nogil:
        im_requantize(use, data, elem, n, frac_in, c, words, to)
    return out


cdef im_accumulator as_accumulator(accumulator):
    cdef im_accumulator c
    c.bits = 0 if accumulator is None else accumulator.bits
    c.overflow = <im_overflow><int>(
        0 if accumulator is None else OVERFLOW_CODES[accumulator.overflow])
    return c


cdef im_matrix as_matrix(cnp.ndarray array):
    cdef im_matrix c
    c.data = cnp.PyArray_DATA(array)
    c.row_stride = cnp.PyArray_STRIDE(array, 0)
    c.col_stride = cnp.PyArray_STRIDE(array, 1)
    c.elem = elem_of(array)
    c.bits = 32 if c.elem == IM_I32 else 64
    return c


cpdef matmul(cnp.ndarray a, cnp.ndarray b, bias, int bias_shift, int frac_in, fmt, kernel=None,
             accumulator=None, stream=None):
    cdef im_format c = as_format(fmt)
    cdef im_accumulator register = as_accumulator(accumulator)
    cdef im_stream words = as_stream(stream)
    cdef im_matrix left = as_matrix(a), right = as_matrix(b)
    cdef int64_t m = cnp.PyArray_DIM(a, 0), n = cnp.PyArray_DIM(b, 1), k = cnp.PyArray_DIM(a, 1)
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = m, n
    cdef cnp.ndarray out = cnp.PyArray_EMPTY(2, shape, dtype_of(c), 0)
    cdef const void *addend = NULL
    cdef im_elem addend_elem = IM_I32
    if bias is not None:
        addend = cnp.PyArray_DATA(<cnp.ndarray>bias)
        addend_elem = elem_of(<cnp.ndarray>bias)
    cdef int index = -1 if kernel is None else kernel_index(kernel)
    cdef const im_isa *use = im_serving
    cdef void *to = cnp.PyArray_DATA(out)
    cdef im_scratch scratch = im_scratch_take()
    cdef im_status status
    with nogil:
        status = im_matmul(use, left, right, m, n, k, addend, addend_elem, bias_shift, register,
                           frac_in, c, words, to, index, &scratch)
    im_scratch_give_back(scratch)
    if status == IM_NOT_EXACT:
        raise ValueError(f"kernel must be one that is exact for these operands, got {kernel!r}")
    check(status)
    return out


def explain_matmul(cnp.ndarray a, cnp.ndarray b, bias, int bias_shift, accumulator):
    cdef im_accumulator register = as_accumulator(accumulator)
    cdef im_matrix left = as_matrix(a), right = as_matrix(b)
    cdef int64_t m = cnp.PyArray_DIM(a, 0), n = cnp.PyArray_DIM(b, 1), k = cnp.PyArray_DIM(a, 1)
    cdef const void *addend = NULL
    cdef im_elem addend_elem = IM_I32
    if bias is not None:
        addend = cnp.PyArray_DATA(<cnp.ndarray>bias)
        addend_elem = elem_of(<cnp.ndarray>bias)
    cdef const im_isa *use = im_serving
    cdef im_explanation found
    cdef im_status status
    with nogil:
        status = im_explain_matmul(use, left, right, m, n, k, addend, addend_elem, bias_shift,
                                   register, &found)
    check(status)
    return (found.kernel.decode(), found.accumulator.decode(), (found.a_low, found.a_high),
            (found.b_low, found.b_high), found.block)


cdef int check(im_status status) except -1:
    if status == IM_NO_MEMORY:
        raise MemoryError("no memory for the operands of this call")
    if status == IM_NOT_FINITE:
        raise FloatingPointError("a value that must be stored or quantized is not finite")
    return 0


# Plain arguments: arrays of the core's own dtypes, aligned and in native byte order, and numbers
# of Python within their limits; a format that reads no random words, or a stream of them. With them
# nothing can be wrong, and nothing is to convert. All others take the checked way of the callers, where each rule and its error stands.

cdef inline bint is_plain(array):
    return type(array) is cnp.ndarray and cnp.PyArray_ISBEHAVED_RO(array)


cdef inline bint is_plain_rule(fmt, stream):
    """Whether `fmt` is a format, and `stream` what it needs."""
    if type(fmt) is not QFormat:
        return False
    if stream is None:
        return ROUNDING_CODES[fmt.rounding] != IM_STOCHASTIC
    return type(stream) is Stream


cdef inline bint is_plain_raw(array, int ndim):
    if not is_plain(array) or cnp.PyArray_NDIM(array) != ndim:
        return False
    return cnp.PyArray_TYPE(array) == cnp.NPY_INT32 or cnp.PyArray_TYPE(array) == cnp.NPY_INT64


cdef inline bint is_plain_frac(number, int *value):
    """Whether `number` is an int in -4096..4096, which becomes `value`."""
    cdef int overflow = 0
    if not PyLong_CheckExact(number):
        return False
    cdef long given = PyLong_AsLongAndOverflow(number, &overflow)
    if overflow or not -4096 <= given <= 4096:
        return False
    value[0] = <int>given
    return True


cdef bint holds_valid(cnp.ndarray array, im_format fmt):
    """Whether all values of a contiguous array are finite, or lie in `fmt`."""
    cdef int64_t n = cnp.PyArray_SIZE(array)
    cdef im_source c
    c.data = cnp.PyArray_DATA(array)
    c.row_stride = 0
    c.col_stride = cnp.PyArray_ITEMSIZE(array)
    c.kind = kind_of(array)
    cdef bint valid
    with nogil:
        valid = im_source_is_valid(c, 1, n, fmt)
    return valid


def plain_quantize(v, fmt, stream):
    if not is_plain_rule(fmt, stream) or not is_plain(v) or not cnp.PyArray_IS_C_CONTIGUOUS(v):
        return None
    if cnp.PyArray_TYPE(v) != cnp.NPY_FLOAT32 and cnp.PyArray_TYPE(v) != cnp.NPY_FLOAT64:
        return None
    return quantize(v, fmt, stream) if holds_valid(v, as_format(fmt)) else None


def plain_dequantize(raw, fmt):
    if type(fmt) is not QFormat or not is_plain(raw) or not cnp.PyArray_IS_C_CONTIGUOUS(raw):
        return None
    if not is_plain_raw(raw, cnp.PyArray_NDIM(raw)):
        return None
    return dequantize(raw, fmt) if holds_valid(raw, as_format(fmt)) else None


def plain_requantize(s, frac_in, fmt, stream):
    cdef int frac = 0
    if not is_plain_rule(fmt, stream) or not is_plain(s) or not cnp.PyArray_IS_C_CONTIGUOUS(s):
        return None
    if not is_plain_raw(s, cnp.PyArray_NDIM(s)) or not is_plain_frac(frac_in, &frac):
        return None
    return requantize(s, frac, fmt, stream)


def plain_matmul(a, b, frac_in, fmt, bias, bias_frac, accumulator, stream):
    cdef int frac = 0, frac_of_bias = 0, shift = 0
    if accumulator is not None and type(accumulator) is not Accumulator:
        return None
    if not is_plain_rule(fmt, stream) or not is_plain_frac(frac_in, &frac):
        return None
    if not is_plain_raw(a, 2) or not is_plain_raw(b, 2):
        return None
    if cnp.PyArray_DIM(a, 1) != cnp.PyArray_DIM(b, 0):
        return None
    if bias is not None:
        if not is_plain_raw(bias, 1) or not cnp.PyArray_IS_C_CONTIGUOUS(bias):
            return None
        if cnp.PyArray_DIM(bias, 0) != cnp.PyArray_DIM(b, 1):
            return None
        if not is_plain_frac(bias_frac, &frac_of_bias):
            return None
        shift = frac - frac_of_bias
        if not 0 <= shift <= 126:
            return None
    elif bias_frac is not None:
        return None
    return matmul(a, b, bias, shift, frac, fmt, None, accumulator, stream)


cdef im_source as_source(cnp.ndarray array):
    cdef im_source c
    c.data = cnp.PyArray_DATA(array)
    c.row_stride = cnp.PyArray_STRIDE(array, 0)
    c.col_stride = cnp.PyArray_STRIDE(array, 1)
    c.kind = kind_of(array)
    return c


cdef bint is_plain_source(array, int64_t columns, im_format fmt):
    """Whether `array` is plain, (n, columns), and finite or of the dtype and range of `fmt`."""
    if not is_plain(array) or cnp.PyArray_NDIM(array) != 2:
        return False
    if cnp.PyArray_DIM(array, 1) != columns:
        return False
    cdef int dtype = cnp.PyArray_TYPE(array)
    if dtype != cnp.NPY_FLOAT32 and dtype != cnp.NPY_FLOAT64 and dtype != dtype_of(fmt):
        return False
    cdef im_source source = as_source(array)
    cdef int64_t n = cnp.PyArray_DIM(array, 0)
    cdef bint valid
    with nogil:
        valid = im_source_is_valid(source, n, columns, fmt)
    return valid


cdef void *data_of(arrays, int i):
    """Return the data of ``arrays[i]``, or NULL where there are no arrays."""
    return cnp.PyArray_DATA(<cnp.ndarray>arrays[i]) if arrays else NULL


cdef dict ACTIVATION_CODES = {
    "linear": IM_LINEAR, "relu": IM_RELU, "leaky_relu": IM_LEAKY_RELU,
    "hard_tanh": IM_HARD_TANH, "hard_sigmoid": IM_HARD_SIGMOID,
    "sigmoid": IM_SIGMOID, "tanh": IM_TANH,
}
cdef dict LOSS_CODES = {
    "sse": IM_SSE, "half_sse": IM_HALF_SSE, "cross_entropy": IM_CROSS_ENTROPY,
}


cdef inline cnp.ndarray new_array(int ndim, int64_t rows, int64_t columns, int dtype):
    """Return an empty array (rows, columns), or (rows,)."""
    cdef cnp.npy_intp[2] shape
    shape[0], shape[1] = rows, columns
    return cnp.PyArray_EMPTY(ndim, shape, dtype, 0)


cdef class Net:
    cdef im_net net
    cdef bint bias
    cdef uint64_t rounding_seed
    cdef object arrays
    cdef list tables  # of functions and of the loss
    cdef im_packed *packed  # weights of each layer
    cdef cnp.ndarray steps  # how many updates are done
    cdef void **gradients  # where a call of `gradient` writes: gW of each layer, then gb

    def __cinit__(self, network, weights, biases, master_weights, master_biases, velocities,
                  bias_velocities, steps):
        self.bias = network.bias
        self.rounding_seed = network.rounding_seed
        self.steps = steps
        self.arrays = (weights, biases, master_weights, master_biases, velocities,
                       bias_velocities)  # kept alive
        self.tables = []  # too
        cdef int depth = len(network.layers), i
        self.net.layers = <im_layer *>PyMem_Calloc(depth, sizeof(im_layer))
        self.gradients = <void **>PyMem_Calloc(2 * depth, sizeof(void *))
        self.packed = <im_packed *>PyMem_Calloc(depth, sizeof(im_packed))
        if self.net.layers == NULL or self.gradients == NULL or self.packed == NULL:
            raise MemoryError("no memory for the layers of this network")
        self.net.depth = depth
        self.net.input = as_format(network.input)
        self.net.loss = <im_loss_kind><int>LOSS_CODES[network.loss]
        self.net.two_step = network.update == "two_step"
        self.net.forward_float = network.parts.forward == "float"
        self.net.backward_float = network.parts.backward == "float"
        self.net.update_float = network.parts.update == "float"
        self.net.stream = as_stream(None)
        self.net.accumulator = as_accumulator(network.accumulator)
        cdef cnp.ndarray table
        if network.exps is not None:
            table = network.exps
            self.tables.append(table)
            self.net.exps = <const int32_t *>cnp.PyArray_DATA(table)
            self.net.exps_size = cnp.PyArray_SIZE(table)
        self.net.momentum_shift = network.momentum_shift or 0
        self.net.decay_shift = -1 if network.decay_shift is None else network.decay_shift
        cdef im_layer *c
        for i, layer in enumerate(network.layers):
            c = &self.net.layers[i]
            c.n_in = layer.n_in
            c.n_out = layer.n_out
            c.activation = as_format(layer.formats.activation)
            c.weight = as_format(layer.formats.weight)
            c.delta = as_format(layer.formats.delta)
            c.gradient = as_format(layer.formats.gradient)
            c.velocity = as_format(layer.velocity)
            c.function = <im_activation><int>ACTIVATION_CODES[layer.activation.kind]
            c.half_at_zero = layer.activation.half_at_zero
            c.slope_shift = layer.activation.slope_shift
            if not self.net.forward_float and layer.table is not None:
                table = layer.table
                self.tables.append(table)
                c.table = <const int16_t *>cnp.PyArray_DATA(table)
            c.W = data_of(weights, i)
            c.b = data_of(biases, i)
            c.master_W = <double *>data_of(master_weights, i)
            c.master_b = <double *>data_of(master_biases, i)
            c.velocity_W = data_of(velocities, i)
            c.velocity_b = data_of(bias_velocities, i)
            c.packed_W = &self.packed[i]

    def __dealloc__(self):
        cdef int i
        if self.packed != NULL:
            for i in range(self.net.depth):
                im_packed_free(&self.packed[i])
        PyMem_Free(self.packed)
        PyMem_Free(self.net.layers)
        PyMem_Free(self.gradients)

    def weights_changed(self):
        cdef int i
        for i in range(self.net.depth):
            self.packed[i].valid = False

    def takes_inputs(self, x):
        return is_plain_source(x, self.net.layers[0].n_in, self.net.input)

    def takes_targets(self, y):
        cdef im_layer *last = &self.net.layers[self.net.depth - 1]
        return is_plain_source(y, last.n_out, last.activation)

    def forward(self, cnp.ndarray x, stream=None):
        self.net.stream = as_stream(stream)
        cdef im_layer *last = &self.net.layers[self.net.depth - 1]
        cdef int64_t n = cnp.PyArray_DIM(x, 0)
        cdef cnp.ndarray out = new_array(
            2, n, last.n_out,
            cnp.NPY_FLOAT64 if self.net.forward_float else dtype_of(last.activation))
        cdef im_source inputs = as_source(x)
        cdef void *to = cnp.PyArray_DATA(out)
        cdef const im_isa *use = im_serving
        cdef im_status status
        with nogil:
            status = im_forward(use, &self.net, inputs, n, to)
        check(status)
        return out

    def gradient(self, cnp.ndarray x, cnp.ndarray y, int average_shift, stream=None):
        self.net.stream = as_stream(stream)
        cdef int depth = self.net.depth, dtype, i
        cdef list gw = [], gb = []
        cdef cnp.ndarray array
        cdef im_layer *layer
        for i in range(depth):
            layer = &self.net.layers[i]
            dtype = cnp.NPY_FLOAT64 if self.net.backward_float else dtype_of(layer.gradient)
            array = new_array(2, layer.n_out, layer.n_in, dtype)
            self.gradients[i] = cnp.PyArray_DATA(array)
            gw.append(array)
            if self.bias:
                array = new_array(1, layer.n_out, 0, dtype)
                self.gradients[depth + i] = cnp.PyArray_DATA(array)
                gb.append(array)
        cdef void **to_w = self.gradients
        cdef void **to_b = self.gradients + depth if self.bias else NULL
        cdef im_source inputs = as_source(x), targets = as_source(y)
        cdef int64_t n = cnp.PyArray_DIM(x, 0)
        cdef const im_isa *use = im_serving
        cdef im_status status
        with nogil:
            status = im_gradient(use, &self.net, inputs, targets, n, average_shift, to_w, to_b)
        check(status)
        return tuple(gw), tuple(gb)

    def trains_online(self, int64_t batch_size, int64_t count, int shift):
        return im_trains_online(&self.net, batch_size, count, shift)

    def train(self, cnp.ndarray x, cnp.ndarray y, cnp.ndarray order, int64_t batch_size,
              int64_t first, int64_t count, int lr_shift, int average_shift, right, loss,
              counts=None, idle=None, int64_t every=1, int64_t before=0,
              bint stop_on_overflow=False, bint only_overflows=False):
        cdef im_source inputs = as_source(x), targets = as_source(y)
        cdef const int64_t *rows = <const int64_t *>cnp.PyArray_DATA(order)
        cdef int64_t n = cnp.PyArray_DIM(order, 0)
        cdef int32_t *to_right = NULL
        cdef double *to_loss = NULL
        if right is not None:
            to_right = <int32_t *>cnp.PyArray_DATA(<cnp.ndarray>right)
        if loss is not None:
            to_loss = <double *>cnp.PyArray_DATA(<cnp.ndarray>loss)
        cdef im_observed seen
        cdef im_observed *observed = NULL
        if counts is not None and idle is not None:
            seen.counts = <im_count *>cnp.PyArray_DATA(<cnp.ndarray>counts)
            seen.idle = <int64_t *>cnp.PyArray_DATA(<cnp.ndarray>idle)
            seen.every = every
            seen.before = before
            seen.stop_on_overflow = stop_on_overflow
            seen.only_overflows = only_overflows
            observed = &seen
        cdef const im_isa *use = im_serving
        cdef int64_t done
        cdef uint64_t *steps = <uint64_t *>cnp.PyArray_DATA(self.steps)
        self.net.stream.seed = self.rounding_seed
        self.net.stream.step = <uint32_t>steps[0]
        with nogil:
            done = im_train(use, &self.net, inputs, targets, rows, n, batch_size, first, count,
                            lr_shift, average_shift, to_right, to_loss, observed)
        if done < 0:
            check(<im_status>done)
        steps[0] += done
        return done
