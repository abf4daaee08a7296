/* Vector table and start-up of the DevAuth code (Armv8-M ARM, DDI0553, B3.30). */
#include <stdint.h>

extern uint32_t stack_end, bss_start, bss_end;
int main(void);
_Noreturn void start(void);
_Noreturn static void fault(void);

#define VTOR (*(volatile uint32_t *)0xe000ed08u)

__attribute__((section(".vectors"), used)) static const struct {
    const void *stack;
    void (*handlers[15])(void);
} vectors = { &stack_end, { start, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault } };

void start(void)
{
    __asm__ volatile("cpsid i");
    VTOR = (uint32_t)&vectors;
    for (uint32_t *word = &bss_start; word < &bss_end; word++) *word = 0;
    (void)main();
    for (;;) {}
}

/* The host sees a silent device and starts again. */
static void fault(void)
{
    for (;;) {}
}
