#include <string.h>

/* Compiled with -fno-tree-loop-distribute-patterns: the compiler must not turn these loops into calls of themselves. */

void *memcpy(void *restrict to, const void *restrict from, size_t length)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    while (length-- > 0) *out++ = *in++;
    return to;
}

void *memmove(void *to, const void *from, size_t length)
{
    unsigned char *out = to;
    const unsigned char *in = from;
    if (out <= in) return memcpy(to, from, length);
    while (length-- > 0) out[length] = in[length];
    return to;
}

void *memset(void *to, int byte, size_t length)
{
    unsigned char *out = to;
    while (length-- > 0) *out++ = (unsigned char)byte;
    return to;
}

int memcmp(const void *a, const void *b, size_t length)
{
    const unsigned char *left = a, *right = b;
    for (; length > 0; length--, left++, right++)
        if (*left != *right) return *left - *right;
    return 0;
}

size_t strlen(const char *text)
{
    size_t length = 0;
    while (text[length] != 0) length++;
    return length;
}
