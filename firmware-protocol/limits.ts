/** Limits that both ends of the wire hold. Every loop, queue, frame and wait is bounded by one of them. */

/** Header and payload together; CRC-32C keeps a Hamming distance of 6 up to here (PROTOCOL.md §"Framing"). */
export const maximumFrameBytes = 640;
export const headerBytes = 17;
export const maximumPayloadBytes = maximumFrameBytes - headerBytes;

export const minimumWindowFrames = 8;
export const maximumWindowFrames = 32;

export const bitLineCount = 512;
export const sourceLineCount = 512;
export const cellCount = bitLineCount * sourceLineCount;
export const maximumDriveCode = 15;
export const maximumTimestepCount = 64;
export const maximumLayerCount = 8;

export const maximumBulkBytes = 16 * 1024 * 1024;
export const maximumJournalEntries = 256;
export const maximumRequestsInFlight = 32;
