/* Random bits: a noise source under health tests (SP 800-90B), and HMAC_DRBG on top of it (SP 800-90A 10.1.2). */
#ifndef ENTROPY_H
#define ENTROPY_H

#include <bearssl.h>
#include <stdbool.h>

/* Security strength of what comes out, in bits. */
enum { ENTROPY_BITS = 256 };

/* Instantiates the generator. False when the noise source fails a test; it stays failed until the next reset. */
bool entropy_start(void);

/* The generator, with fresh entropy of full strength mixed in (SP 800-90A 9.2). NULL when the noise source has failed. */
br_hmac_drbg_context *entropy_fresh(void);

#endif
