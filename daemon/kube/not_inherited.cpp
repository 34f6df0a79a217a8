// SPDX-License-Identifier: Apache-2.0
#include "kube/not_inherited.hpp"

#include <algorithm>

namespace fallbackd::kube {

bool mayStart(const NotInheritedList& list, config::MissingEnv missingEnv) {
  return std::none_of(list.begin(), list.end(), [&](const NotInherited& one) {
    return one.weight == NotInherited::Weight::refuses ||
           (one.weight == NotInherited::Weight::variable && missingEnv == config::MissingEnv::refuse);
  });
}

std::string_view toString(NotInherited::Weight weight) {
  switch (weight) {
    case NotInherited::Weight::variable:
      return "variable";
    case NotInherited::Weight::refuses:
      return "refuses";
    case NotInherited::Weight::differs:
      break;
  }
  return "differs";
}

}  // namespace fallbackd::kube
