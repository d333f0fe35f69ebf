/* security/security.h: the door of the security room: the data folder and its secret, API keys, sealed files. */
#ifndef HD_SECURITY_H
#define HD_SECURITY_H

#include "security/api_keys.h"
#include "security/data_folder.h"
#include "security/sealed_file.h"

#endif
