/* DevAuth code: what runs in the SRAM of a blank chip during production. */
#include "board.h"
#include "devauth.h"
#include "entropy.h"
#include "mctp.h"

int main(void)
{
    static uint8_t answer[ANSWER_BYTES];
    struct mctp_message request;
    board_init();
    /* A noise source that fails its tests is reported by every command that needs it. */
    (void)entropy_start();
    for (;;) {
        if (!mctp_take(board_uart_read(), &request)) continue;
        size_t length = devauth_respond(request.data, request.length, request.is_cut, answer);
        if (length > 0) mctp_answer(&request, answer, length);
        if (command_wants_reset()) board_reset();
    }
}
