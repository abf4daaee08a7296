/* Boot ROM of the QEMU board: nothing in flash is executed here, so it waits for the debugger. It sleeps 10 ms at a time: QEMU does not wake a
 * core that sleeps when a debugger gives it another program counter, as silicon does. */
        .syntax unified
        .cpu    cortex-m33
        .thumb
        .text
        .word   0x38020000              /* end of SRAM */
        .word   reset + 1
        .global reset
        .thumb_func
reset:  cpsid   i
        ldr     r0, =0xe000e010         /* SysTick (Armv8-M ARM, DDI0553, D1.2.238) */
        ldr     r1, =199999             /* of 20 MHz */
        str     r1, [r0, #4]
        str     r1, [r0, #8]
        movs    r1, #7                  /* on, pends its exception, processor clock */
        str     r1, [r0]
        ldr     r0, =0xe000ed04         /* ICSR */
        ldr     r1, =0x02000000         /* PENDSTCLR */
sleep:  wfi
        str     r1, [r0]
        b       sleep
