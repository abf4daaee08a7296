#include "mctp.h"

#include <string.h>

#include "board.h"
#include "devauth.h"

/* DSP0253: 7E | revision | byte count | packet | FCS high | FCS low | 7E; in the packet 7E is sent as 7D 5E, and 7D as 7D 5D. */
enum { FLAG = 0x7e, ESCAPE = 0x7d, ESCAPE_BIT = 0x20, REVISION = 0x01 };
/* DSP0236 8.1: version | destination | source | SOM EOM sequence(2) TO tag(3). */
enum { HEADER_BYTES = 4, HEADER_VERSION = 0x01, SOM = 0x80, EOM = 0x40, SEQUENCE_SHIFT = 4, SEQUENCE_MASK = 0x03, OWNER = 0x08, TAG_MASK = 0x07 };
/* Endpoint ids of this link (docs/virtual-mcu.md); 0 is the null endpoint, which is always meant. */
enum { OWN_EID = 9, NULL_EID = 0 };
enum { PACKET_BYTES = 255, UNIT_BYTES = 250 };

/* Reflected CRC-16-CCITT, initial value FFFF, no final XOR (DSP0253 7). */
static uint16_t fcs_add(uint16_t fcs, uint8_t byte)
{
    fcs ^= byte;
    for (int bit = 0; bit < 8; bit++) fcs = (uint16_t)(fcs & 1 ? fcs >> 1 ^ 0x8408 : fcs >> 1);
    return fcs;
}

static struct {
    enum { IDLE, AFTER_FLAG, COUNT, DATA, ESCAPED, FCS_HIGH, FCS_LOW, END } state;
    uint8_t packet[PACKET_BYTES];
    uint8_t count;
    uint8_t filled;
    uint16_t fcs;
    uint16_t expected;
} line;

static void fill(uint8_t byte)
{
    line.packet[line.filled++] = byte;
    line.fcs = fcs_add(line.fcs, byte);
    line.state = line.filled == line.count ? FCS_HIGH : DATA;
}

/* True when the byte ends a valid frame. A flag in a wrong place may be the first of the next frame. */
static bool frame_take(uint8_t byte)
{
    switch (line.state) {
    case IDLE:
        line.state = byte == FLAG ? AFTER_FLAG : IDLE;
        return false;
    case AFTER_FLAG:
        if (byte != FLAG) line.state = byte == REVISION ? COUNT : IDLE;
        return false;
    case COUNT:
        line.count = byte;
        line.filled = 0;
        line.fcs = fcs_add(fcs_add(0xffff, REVISION), byte);
        line.state = byte == 0 ? IDLE : DATA;
        return false;
    case DATA:
        if (byte == FLAG) line.state = AFTER_FLAG;
        else if (byte == ESCAPE) line.state = ESCAPED;
        else fill(byte);
        return false;
    case ESCAPED:
        byte ^= ESCAPE_BIT;
        if (byte == FLAG || byte == ESCAPE) fill(byte);
        else line.state = (byte ^ ESCAPE_BIT) == FLAG ? AFTER_FLAG : IDLE;
        return false;
    case FCS_HIGH:
        line.expected = (uint16_t)(byte << 8);
        line.state = FCS_LOW;
        return false;
    case FCS_LOW:
        line.expected |= byte;
        line.state = END;
        return false;
    default:
        line.state = byte == FLAG && line.expected != line.fcs ? AFTER_FLAG : IDLE;
        return byte == FLAG && line.expected == line.fcs;
    }
}

static struct {
    bool is_open;
    struct mctp_message message;
    uint8_t sequence;
    uint8_t unit;
} assembly;
static uint8_t buffer[MESSAGE_BYTES];

/* Adds a packet to the message. Packets that do not fit together end it (DSP0236 8.6); the repeat brings it again. */
static bool packet_take(const uint8_t *packet, unsigned count)
{
    bool was_open = assembly.is_open;
    assembly.is_open = false;
    if (count <= HEADER_BYTES || packet[0] != HEADER_VERSION || (packet[1] != OWN_EID && packet[1] != NULL_EID)) return false;
    uint8_t flags = packet[3], body = (uint8_t)(count - HEADER_BYTES), sequence = flags >> SEQUENCE_SHIFT & SEQUENCE_MASK;
    struct mctp_message *message = &assembly.message;
    if ((flags & OWNER) == 0) return false;
    if ((flags & SOM) != 0) {
        *message = (struct mctp_message){ .data = buffer, .source = packet[2], .tag = flags & TAG_MASK };
        assembly.unit = body;
    } else {
        bool same = was_open && message->source == packet[2] && message->tag == (flags & TAG_MASK);
        bool follows = sequence == ((assembly.sequence + 1) & SEQUENCE_MASK);
        /* Middle packets have the size of the first one, the last is not longer (8.5). */
        if (!same || !follows || body > assembly.unit || ((flags & EOM) == 0 && body != assembly.unit)) return false;
    }
    size_t room = sizeof buffer - message->length;
    if (body > room) message->is_cut = true;
    size_t kept = body > room ? room : body;
    memcpy(buffer + message->length, packet + HEADER_BYTES, kept);
    message->length += kept;
    assembly.sequence = sequence;
    assembly.is_open = (flags & EOM) == 0;
    return !assembly.is_open;
}

bool mctp_take(uint8_t byte, struct mctp_message *message)
{
    if (!frame_take(byte) || !packet_take(line.packet, line.count)) return false;
    *message = assembly.message;
    return true;
}

static void send_frame(const uint8_t header[HEADER_BYTES], const uint8_t *body, uint8_t length)
{
    uint8_t count = (uint8_t)(HEADER_BYTES + length);
    uint16_t fcs = fcs_add(fcs_add(0xffff, REVISION), count);
    board_uart_write(FLAG);
    board_uart_write(REVISION);
    board_uart_write(count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t byte = i < HEADER_BYTES ? header[i] : body[i - HEADER_BYTES];
        fcs = fcs_add(fcs, byte);
        bool is_special = byte == FLAG || byte == ESCAPE;
        if (is_special) board_uart_write(ESCAPE);
        board_uart_write(is_special ? byte ^ ESCAPE_BIT : byte);
    }
    board_uart_write((uint8_t)(fcs >> 8));
    board_uart_write((uint8_t)fcs);
    board_uart_write(FLAG);
}

void mctp_answer(const struct mctp_message *request, const uint8_t *data, size_t length)
{
    unsigned sequence = 0;
    for (size_t at = 0; at < length; at += UNIT_BYTES, sequence++) {
        size_t rest = length - at;
        uint8_t part = (uint8_t)(rest > UNIT_BYTES ? UNIT_BYTES : rest);
        uint8_t flags = (uint8_t)((at == 0 ? SOM : 0) | (part == rest ? EOM : 0) | (sequence & SEQUENCE_MASK) << SEQUENCE_SHIFT | request->tag);
        uint8_t header[HEADER_BYTES] = { HEADER_VERSION, request->source, OWN_EID, flags };
        send_frame(header, data + at, part);
    }
}
