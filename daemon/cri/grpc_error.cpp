// SPDX-License-Identifier: Apache-2.0
#include "cri/grpc_error.hpp"

#include <string>

namespace fallbackd::cri {

namespace {

Reason reasonOf(const grpc::Status& status) {
  // containerd listens before its CRI plugin can answer, and some versions have no distinct code for that.
  if (status.error_message().find("server is not initialized yet") != std::string::npos) {
    return Reason::unavailable;
  }
  switch (status.error_code()) {
    case grpc::StatusCode::NOT_FOUND:
      return Reason::not_found;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Reason::timeout;
    case grpc::StatusCode::CANCELLED:
      return Reason::cancelled;
    case grpc::StatusCode::UNAVAILABLE:
      return Reason::unavailable;
    case grpc::StatusCode::PERMISSION_DENIED:
      return Reason::not_permitted;
    case grpc::StatusCode::ALREADY_EXISTS:
      return Reason::already_exists;
    default:
      return Reason::protocol;
  }
}

}  // namespace

tl::unexpected<Error> failCall(Stage stage, std::string_view call, const grpc::Status& status) {
  return fail(stage, reasonOf(status), std::string(call) + ": " + status.error_message());
}

}  // namespace fallbackd::cri
