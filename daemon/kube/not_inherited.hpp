// SPDX-License-Identifier: Apache-2.0
// A part of a pod that its fallback does not get, and why. explain shows it; some parts prevent the fallback.
#pragma once

#include "config/model.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace fallbackd::kube {

struct NotInherited {
  enum class Weight : std::uint8_t {
    differs,   // the fallback runs without it
    variable,  // a variable, or something that refers to one: missingEnv decides
    refuses,   // the fallback must not run without it
  };
  std::string path;  // in the pod: spec.containers[0].env[2]
  std::string why;
  Weight weight = Weight::differs;
};
using NotInheritedList = std::vector<NotInherited>;

bool mayStart(const NotInheritedList& list, config::MissingEnv missingEnv);

std::string_view toString(NotInherited::Weight weight);

}  // namespace fallbackd::kube
