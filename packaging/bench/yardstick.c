/* What `make bench` measures by: as little as can be done to bring an image from a web server onto a disk.
 *
 * It reads, decodes and writes on three threads with the fastest decoders there are, goes past the page cache and skips
 * zeros where the device promises that they are there. It is no product: one connection, no retries, no resume, no read-back,
 * and whatever it does not expect ends it.
 *
 *   yardstick write PORT PATH FORM DEVICE SIZE [packed|image ALGORITHM HEX]
 *       The digest is that of what came over the wire (packed) or of the image (image).
 *   yardstick decode FILE FORM
 *   yardstick read DEVICE IMAGE
 *       Reads the ranges of DEVICE that are data in the sparse file IMAGE, past the page cache.
 *
 * FORM: raw, gz, zst, xz, lz4.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <isa-l/igzip_lib.h>
#include <linux/falloc.h>
#include <lz4frame.h>
#include <lzma.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zstd.h>

enum {
	PIECE = 1 << 20,
	PACKED_PIECES = 8,
	IMAGE_PIECES = 16,
	/* A finer grain finds hardly more zeros in a file system and costs more calls. */
	GRAIN = 64 << 10,
};

__attribute__((noreturn, format(printf, 1, 2))) static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	exit(1);
}

struct piece {
	unsigned char *bytes;
	size_t length;
	off_t offset;
	int holders, is_last;
	struct queue *home;
};

struct queue {
	struct piece *pieces[IMAGE_PIECES + PACKED_PIECES];
	unsigned head, tail;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct queue free_packed, free_image, to_decode, to_write, to_hash;

static void put(struct queue *queue, struct piece *piece)
{
	pthread_mutex_lock(&lock);
	queue->pieces[queue->tail++ % (IMAGE_PIECES + PACKED_PIECES)] = piece;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static struct piece *take(struct queue *queue)
{
	pthread_mutex_lock(&lock);
	while (queue->head == queue->tail)
		pthread_cond_wait(&changed, &lock);
	struct piece *piece = queue->pieces[queue->head++ % (IMAGE_PIECES + PACKED_PIECES)];
	pthread_mutex_unlock(&lock);
	return piece;
}

static void release(struct piece *piece)
{
	pthread_mutex_lock(&lock);
	int is_free = --piece->holders == 0;
	pthread_mutex_unlock(&lock);
	if (is_free)
		put(piece->home, piece);
}

static void fill_pool(struct queue *pool, int count)
{
	for (int i = 0; i < count; i++) {
		struct piece *piece = calloc(1, sizeof *piece);
		if (!piece || posix_memalign((void **)&piece->bytes, 4096, PIECE))
			fail("no memory");
		piece->home = pool;
		put(pool, piece);
	}
}

static struct piece *new_piece(struct queue *pool)
{
	struct piece *piece = take(pool);
	piece->length = 0;
	piece->is_last = 0;
	piece->holders = 1;
	return piece;
}

/* ---- reading ---- */

static int input;
static EVP_MD_CTX *hash;
static int hashes_packed, hashes_image;

/* The head is taken from the socket alone, so that the body begins at the start of an aligned piece. */
static void connect_to(const char *port, const char *path)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port)) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	int room = 4 << 20;
	char head[4096], *end;
	input = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(input, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
	if (connect(input, (struct sockaddr *)&address, sizeof address))
		fail("connecting: %s", strerror(errno));
	dprintf(input, "GET /%s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
	for (;;) {
		ssize_t length = recv(input, head, sizeof head - 1, MSG_PEEK);
		if (length <= 0)
			fail("reading the head: %s", strerror(errno));
		head[length] = 0;
		if ((end = strstr(head, "\r\n\r\n")))
			break;
	}
	if (strncmp(head + 8, " 200", 4))
		fail("the server answered %.12s", head);
	size_t length = (size_t)(end + 4 - head);
	if (recv(input, head, length, MSG_WAITALL) != (ssize_t)length)
		fail("reading the head again");
}

static size_t read_full(unsigned char *bytes)
{
	size_t length = 0;
	while (length < PIECE) {
		ssize_t now = read(input, bytes + length, PIECE - length);
		if (now < 0)
			fail("reading: %s", strerror(errno));
		if (!now)
			break;
		length += (size_t)now;
	}
	return length;
}

static void *reader(void *unused)
{
	(void)unused;
	for (int is_last = 0; !is_last;) {
		struct piece *piece = new_piece(&free_packed);
		piece->length = read_full(piece->bytes);
		is_last = piece->is_last = piece->length < PIECE;
		if (hashes_packed)
			EVP_DigestUpdate(hash, piece->bytes, piece->length);
		put(&to_decode, piece);
	}
	return NULL;
}

/* ---- decoding: packed pieces in, image pieces out ---- */

static off_t image_length;
static struct piece *open_piece;
static int is_discarding;

static void emit(struct piece *piece, int is_last)
{
	piece->is_last = is_last;
	piece->offset = image_length;
	image_length += (off_t)piece->length;
	if (is_discarding) {
		release(piece);
		return;
	}
	piece->holders = 1 + hashes_image;
	if (hashes_image)
		put(&to_hash, piece);
	put(&to_write, piece);
}

static unsigned char *room(size_t *length)
{
	if (open_piece->length == PIECE) {
		emit(open_piece, 0);
		open_piece = new_piece(&free_image);
	}
	*length = PIECE - open_piece->length;
	return open_piece->bytes + open_piece->length;
}

static void decode_gz(const struct piece *packed)
{
	static struct inflate_state state;
	static int is_begun;
	if (!is_begun++) {
		isal_inflate_init(&state);
		state.crc_flag = ISAL_GZIP;
	}
	state.next_in = packed->bytes;
	state.avail_in = (uint32_t)packed->length;
	for (;;) {
		size_t length;
		if (state.block_state == ISAL_BLOCK_FINISH) {
			if (!state.avail_in)
				return;
			/* Another member. */
			isal_inflate_reset(&state);
			state.crc_flag = ISAL_GZIP;
		}
		state.next_out = room(&length);
		state.avail_out = (uint32_t)length;
		int code = isal_inflate(&state);
		if (code)
			fail("inflating: %d", code);
		open_piece->length = PIECE - state.avail_out;
		if (state.avail_out && !state.avail_in)
			return;
	}
}

static void decode_zst(const struct piece *packed)
{
	static ZSTD_DStream *stream;
	if (!stream)
		stream = ZSTD_createDStream();
	ZSTD_inBuffer in = { packed->bytes, packed->length, 0 };
	for (;;) {
		size_t length;
		unsigned char *place = room(&length);
		ZSTD_outBuffer out = { place, length, 0 };
		size_t code = ZSTD_decompressStream(stream, &out, &in);
		if (ZSTD_isError(code))
			fail("zstd: %s", ZSTD_getErrorName(code));
		open_piece->length += out.pos;
		if (in.pos == in.size && out.pos < out.size)
			return;
	}
}

static void decode_xz(const struct piece *packed)
{
	static lzma_stream stream = LZMA_STREAM_INIT;
	static int is_begun;
	if (!is_begun++) {
		lzma_mt options = {
			.flags = LZMA_CONCATENATED,
			.threads = lzma_cputhreads(),
			.memlimit_threading = 1 << 30,
			.memlimit_stop = UINT64_MAX,
		};
		if (lzma_stream_decoder_mt(&stream, &options) != LZMA_OK)
			fail("beginning with xz");
	}
	stream.next_in = packed->bytes;
	stream.avail_in = packed->length;
	for (;;) {
		size_t length;
		stream.next_out = room(&length);
		stream.avail_out = length;
		lzma_ret code = lzma_code(&stream, packed->is_last ? LZMA_FINISH : LZMA_RUN);
		open_piece->length = PIECE - stream.avail_out;
		if (code == LZMA_STREAM_END)
			return;
		if (code != LZMA_OK)
			fail("xz: %d", (int)code);
		if (!packed->is_last && !stream.avail_in && stream.avail_out)
			return;
	}
}

static void decode_lz4(const struct piece *packed)
{
	static LZ4F_dctx *stream;
	if (!stream && LZ4F_isError(LZ4F_createDecompressionContext(&stream, LZ4F_VERSION)))
		fail("beginning with lz4");
	for (size_t at = 0;;) {
		size_t out, in = packed->length - at;
		unsigned char *place = room(&out);
		size_t space = out;
		size_t code = LZ4F_decompress(stream, place, &out, packed->bytes + at, &in, NULL);
		if (LZ4F_isError(code))
			fail("lz4: %s", LZ4F_getErrorName(code));
		open_piece->length += out;
		at += in;
		if (at == packed->length && out < space)
			return;
	}
}

static void decode_all(const char *form)
{
	static const struct { const char *form; void (*decode)(const struct piece *); } decoders[] = {
		{ "gz", decode_gz }, { "zst", decode_zst }, { "xz", decode_xz }, { "lz4", decode_lz4 },
	};
	void (*decode)(const struct piece *) = NULL;
	for (size_t i = 0; i < sizeof decoders / sizeof *decoders; i++)
		if (!strcmp(decoders[i].form, form))
			decode = decoders[i].decode;
	if (!decode && strcmp(form, "raw"))
		fail("unknown form %s", form);
	if (decode)
		open_piece = new_piece(&free_image);
	for (int is_last = 0; !is_last;) {
		struct piece *packed = take(&to_decode);
		is_last = packed->is_last;
		if (decode) {
			decode(packed);
			release(packed);
		} else {
			emit(packed, is_last);
		}
	}
	if (decode)
		emit(open_piece, 1);
}

/* ---- hashing the image, writing ---- */

static void *hasher(void *unused)
{
	(void)unused;
	for (int is_last = 0; !is_last;) {
		struct piece *piece = take(&to_hash);
		is_last = piece->is_last;
		EVP_DigestUpdate(hash, piece->bytes, piece->length);
		release(piece);
	}
	return NULL;
}

static int device, skips_zeros;

static int is_zero(const unsigned char *bytes, size_t length)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, length - 1);
}

static size_t grain_at(const struct piece *piece, size_t at)
{
	return piece->length - at < GRAIN ? piece->length - at : GRAIN;
}

static int is_skipped(const struct piece *piece, size_t at)
{
	return skips_zeros && is_zero(piece->bytes + at, grain_at(piece, at));
}

static void write_piece(const struct piece *piece)
{
	for (size_t begin = 0, end; begin < piece->length; begin = end) {
		end = begin + grain_at(piece, begin);
		if (is_skipped(piece, begin))
			continue;
		while (end < piece->length && !is_skipped(piece, end))
			end += grain_at(piece, end);
		for (size_t at = begin; at < end;) {
			ssize_t now = pwrite(device, piece->bytes + at, end - at, piece->offset + (off_t)at);
			if (now <= 0)
				fail("writing: %s", strerror(errno));
			at += (size_t)now;
		}
	}
}

static void *writer(void *unused)
{
	(void)unused;
	for (int is_last = 0; !is_last;) {
		struct piece *piece = take(&to_write);
		is_last = piece->is_last;
		write_piece(piece);
		release(piece);
	}
	return NULL;
}

static void begin_hash(const char *what, const char *algorithm)
{
	const EVP_MD *kind = EVP_get_digestbyname(algorithm);
	hashes_packed = !strcmp(what, "packed");
	hashes_image = !strcmp(what, "image");
	hash = EVP_MD_CTX_new();
	if (!kind || hashes_packed == hashes_image || !EVP_DigestInit_ex(hash, kind, NULL))
		fail("cannot hash %s with %s", what, algorithm);
}

static void check_hash(const char *expected)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE + 1];
	unsigned length;
	EVP_DigestFinal_ex(hash, digest, &length);
	for (unsigned i = 0; i < length; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	if (strcmp(hex, expected))
		fail("the digest is %s, expected %s", hex, expected);
}

static int write_image(char **words, int is_hashed)
{
	pthread_t threads[3];
	off_t size = atoll(words[4]);
	if (is_hashed)
		begin_hash(words[5], words[6]);
	device = open(words[3], O_RDWR | O_DIRECT);
	if (device < 0)
		fail("opening %s: %s", words[3], strerror(errno));
	/* Zeros may be left out only where the device reads as zeros now: this unmaps, and fails where the device does not
	 * promise that. */
	skips_zeros = !fallocate(device, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, size);
	connect_to(words[0], words[1]);
	pthread_create(&threads[0], NULL, reader, NULL);
	pthread_create(&threads[1], NULL, writer, NULL);
	if (hashes_image)
		pthread_create(&threads[2], NULL, hasher, NULL);
	decode_all(words[2]);
	for (int i = 0; i < 2 + hashes_image; i++)
		pthread_join(threads[i], NULL);
	if (image_length != size)
		fail("the image has %lld bytes, expected %lld", (long long)image_length, (long long)size);
	if (is_hashed)
		check_hash(words[7]);
	if (fsync(device))
		fail("flushing: %s", strerror(errno));
	return 0;
}

static int decode_file(char **words)
{
	pthread_t thread;
	input = open(words[0], O_RDONLY);
	if (input < 0)
		fail("opening %s: %s", words[0], strerror(errno));
	is_discarding = 1;
	pthread_create(&thread, NULL, reader, NULL);
	decode_all(words[1]);
	pthread_join(thread, NULL);
	return 0;
}

static int read_device(char **words)
{
	int image = open(words[1], O_RDONLY);
	void *bytes;
	device = open(words[0], O_RDONLY | O_DIRECT);
	if (image < 0 || device < 0 || posix_memalign(&bytes, 4096, PIECE))
		fail("opening: %s", strerror(errno));
	for (off_t at, end = 0; (at = lseek(image, end, SEEK_DATA)) >= 0;) {
		end = lseek(image, at, SEEK_HOLE);
		while (at < end) {
			size_t length = end - at < PIECE ? (size_t)(end - at) : PIECE;
			ssize_t now = pread(device, bytes, length, at);
			if (now <= 0)
				fail("reading at %lld: %s", (long long)at, strerror(errno));
			at += now;
		}
	}
	return 0;
}

int main(int count, char **words)
{
	fill_pool(&free_packed, PACKED_PIECES);
	fill_pool(&free_image, IMAGE_PIECES);
	if ((count == 7 || count == 10) && !strcmp(words[1], "write"))
		return write_image(words + 2, count == 10);
	if (count == 4 && !strcmp(words[1], "decode"))
		return decode_file(words + 2);
	if (count == 4 && !strcmp(words[1], "read"))
		return read_device(words + 2);
	fail("usage: yardstick write|decode|read ..., see the top of yardstick.c");
}
