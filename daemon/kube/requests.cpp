// SPDX-License-Identifier: Apache-2.0
#include "kube/requests.hpp"

namespace fallbackd::kube {

bool isPathSegment(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/%") == std::string_view::npos;
}

boost::asio::awaitable<Result<Answer>> Requests::get(std::string target) {
  if (!connection_) {
    FB_CO_TRY(auto access, access_());
    FB_CO_TRY(auto opened, co_await Connection::open(std::move(access), limit_));
    connection_.emplace(std::move(opened));
  }
  auto answer = co_await connection_->get(std::move(target), limit_);
  if (!answer || !answer->keepsOpen) connection_.reset();
  co_return answer;
}

}  // namespace fallbackd::kube
