// SPDX-License-Identifier: Apache-2.0
// References to variables, as kubelet expands them in commands, arguments, values of variables and
// subPathExpr (its package third_party/forked/golang/expansion):
//
//   $(NAME)   the variable's value, which is not expanded again
//   $$        one dollar sign, so that $$(NAME) becomes $(NAME)
//   $         anything else stays as it is: $NAME, ${NAME}, a $( without its )
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace fallbackd::kube {

/// The text that replaces a reference. The caller decides about variables that do not exist.
using ValueOf = std::function<std::string(std::string_view name)>;

std::string expand(std::string_view input, const ValueOf& valueOf);

/// "$(NAME)": what kubelet leaves for a variable that does not exist, except in subPathExpr.
std::string asReference(std::string_view name);

}  // namespace fallbackd::kube
