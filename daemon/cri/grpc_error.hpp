// SPDX-License-Identifier: Apache-2.0
// Converts a failed gRPC call to our Error.
#pragma once

#include "base/error.hpp"

#include <string_view>

#include <grpcpp/grpcpp.h>

namespace fallbackd::cri {

tl::unexpected<Error> failCall(Stage stage, std::string_view call, const grpc::Status& status);

}  // namespace fallbackd::cri
