#include "tests/model/model.h"
#include <string.h>
static void st(const struct bw_setting*s,void*p){(void)s;memset(p,0,4);}
static void mv(const struct bw_setting*s,const void*p,struct bw_moves*o){(void)s;(void)p;(void)o;}
static const char*br(const struct bw_setting*s,const void*p){(void)s;(void)p;return 0;}
static bool se(const struct bw_setting*s,const void*p){(void)s;(void)p;return true;}
const struct bw_model bw_model_open={.name="open",.state_size=4,.start=st,.moves=mv,.broken=br,.settled=se};
