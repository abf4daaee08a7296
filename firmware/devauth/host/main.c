/* As ../main.c, but each message is alone on the heap: a step over its end is seen. */
#include <stdlib.h>
#include <string.h>

#include "../board.h"
#include "../devauth.h"
#include "../entropy.h"
#include "../mctp.h"

int main(void)
{
    static uint8_t answer[ANSWER_BYTES];
    struct mctp_message request;
    board_init();
    (void)entropy_start();
    for (;;) {
        if (!mctp_take(board_uart_read(), &request)) continue;
        uint8_t *alone = malloc(request.length);
        memcpy(alone, request.data, request.length);
        size_t length = devauth_respond(alone, request.length, request.is_cut, answer);
        free(alone);
        if (length > 0) mctp_answer(&request, answer, length);
        if (command_wants_reset()) board_reset();
    }
}
