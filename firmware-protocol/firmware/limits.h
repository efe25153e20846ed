/* Limits of the board. Every loop, queue, buffer and wait is bounded by one of them; a port may change those that are guarded. */
#ifndef PRIME_LIMITS_H
#define PRIME_LIMITS_H

#define HEADER_BYTES 17u
#define MAXIMUM_FRAME_BYTES 640u
#define MAXIMUM_PAYLOAD_BYTES (MAXIMUM_FRAME_BYTES - HEADER_BYTES)
#define MINIMUM_WINDOW_FRAMES 8u
#define MAXIMUM_WINDOW_FRAMES 32u

#define BIT_LINES 512u
#define SOURCE_LINES 512u
#define CELLS (BIT_LINES * SOURCE_LINES)
#define TOP_CODE 65535u

#define SHA256_BYTES 32u
#define BOOT_ID_BYTES 8u
#define REQUEST_ID_BYTES 16u

#define REQUESTS_IN_FLIGHT 32u
#define JOURNAL_ENTRIES 256u
/* Of a Final that is kept in the journal: an id, a code of the error table and 300 characters. */
#define JOURNAL_ANSWER_BYTES 384u
#define PROGRAMS 4u
#define MAXIMUM_TIMESTEPS 64u
#define MAXIMUM_LAYERS 8u
/* Of the last layer: their membranes go into one message, five bytes each at worst. */
#define MAXIMUM_OUTPUTS 80u
#define MAXIMUM_TILES_PER_LAYER 64u
#define MAXIMUM_DRIVES 256u
#define MAXIMUM_AVERAGES 1024u
#define MAXIMUM_LAYER_NEURONS 65536u

#define DEAD_MAN_MINIMUM_MILLISECONDS 100u
#define DEAD_MAN_MAXIMUM_MILLISECONDS 60000u
#define DEAD_MAN_DEFAULT_MILLISECONDS 2000u

#define LOG_RECORDS 32u
#define LOG_TEXT_BYTES 400u
#define TELEMETRY_SAMPLES 64u
#define DECIMATED_SAMPLES 8u

/* Bulk objects live in pages, so that no mix of sizes can splinter the store. */
#ifndef BULK_BYTES
#define BULK_BYTES (16u * 1024u * 1024u)
#endif
#define BULK_PAGE_BYTES 4096u
#define BULK_PAGES (BULK_BYTES / BULK_PAGE_BYTES)
#define BULK_OBJECTS 512u

/* Of all layers of a program together. */
#ifndef PROGRAM_NEURONS
#define PROGRAM_NEURONS 131072u
#endif
/* Of the tiles of a program together: their number, and the source lines that they name. */
#ifndef PROGRAM_TILES
#define PROGRAM_TILES 256u
#endif
#ifndef PROGRAM_LINES
#define PROGRAM_LINES 65536u
#endif
/* Inputs of a layer with the padding around them. */
#ifndef PADDED_INPUTS
#define PADDED_INPUTS 131072u
#endif

/* Messages that wait for the line or for their acknowledgement. */
#ifndef LINK_MESSAGES
#define LINK_MESSAGES 128u
#endif

/* LoadSnapshot is for simulated arrays; a board with silicon leaves it out and saves its buffers. */
#ifndef HAS_LOAD_SNAPSHOT
#define HAS_LOAD_SNAPSHOT 1
#endif

#endif
