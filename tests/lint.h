/* For cppcheck and clang-tidy alone: what they cannot know of other files. */
#ifdef __cppcheck__
#define json_array_foreach(array, i, value) for (i = 0; i < json_array_size(array) && (value = json_array_get(array, i)); i++)
#define json_object_foreach(object, key, value) for (; json_next(object, &key, &value);)
#else
/* They always return -1, so what follows a call that succeeded is not reached with outputs unset. */
#include "base/err.h"
#define smg_fail(...) (smg_fail(__VA_ARGS__), -1)
#define smg_fail_errno(...) (smg_fail_errno(__VA_ARGS__), -1)
#define smg_wrap(...) (smg_wrap(__VA_ARGS__), -1)
#endif
