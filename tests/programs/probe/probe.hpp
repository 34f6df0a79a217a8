// SPDX-License-Identifier: Apache-2.0
// What the probe tells and tries.
#pragma once

#include <string>

namespace probe {

/// Namespaces, identity, descriptors, environment, mounts, limits, files: as seen from inside.
void report(int argc, char** argv);

/// All that a process inherits or sees, for laying two ways of starting one side by side. Keys may hold
/// blanks: each line is "KEY<TAB>VALUE".
void world();

/// Makes calls that must be refused and prints "NAME ERRNO" for each, 0 where one was not.
void attack();

/// Calls on both sides of the filter's rules with arguments: "refused NAME ERRNO", "allowed NAME ERRNO".
void filter();

/// One way out of the pod: prints "escaped WHAT" (nothing follows where all was refused) and "refused WHAT:
/// HOW" for the first refusal. False for an unknown name. `arguments` ends with a null pointer.
bool escape(const std::string& name, char** arguments);

}  // namespace probe
